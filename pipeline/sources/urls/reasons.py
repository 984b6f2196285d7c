"""Why an address gives no picture, in fixed words."""

from __future__ import annotations

REJECT_REASONS = {
    "bad_url": "the address is none of http or https, cannot be read or holds a login",
    "private_address": "the host lies in a network that the public cannot reach, and private_hosts does not allow it",
    "no_such_host": "the host's name is not found, while others are",
    "bad_certificate": "the host's certificate is not to be trusted",
    "bad_redirect": "a redirect leads in a circle, too far, nowhere or to what is no web address",
    "not_found": "the server says that there is nothing (404, 410)",
    "forbidden": "the server gives it to others (401, 402, 403, 451)",
    "refused_by_server": "the server does not take the question (other answers of 400 to 499)",
    "odd_status": "an answer without a picture that is no error (204, 304, ...)",
    "opted_out": "the server's X-Robots-Tag says one of the row's opt_out",
    "too_many_bytes": "the file, or what it unpacks to, is larger than max_bytes",
    "unknown_coding": "the body is packed in a way that was not asked for",
    "web_page": "a page for people stands where the picture was",
    "no_answer": "no whole answer in as many runs as give_up_after_runs says",
}
NO_SUCH_HOST = "no_such_host"
NO_ANSWER = "no_answer"
