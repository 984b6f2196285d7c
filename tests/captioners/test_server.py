"""Captions by servers: right, in order and asked for once, whatever servers do; what is rejected, refused, or waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from caption_server import (
    ENGINE_VERSION,
    MODEL,
    Behaviour,
    CaptionServer,
    Seen,
    answer_of,
    caption_of,
    cut_stream,
    ends_early,
    for_colour,
    hangs,
    running,
    says,
    serving,
    status,
    until,
)
from PIL import Image
from small_project import PROJECT

from pipeline.captioners.base import Caption, Picture, Setting
from pipeline.captioners.server import ServerCaptioner
from pipeline.data.schema import FinishReason
from pipeline.errors import Refusal, Reject, Transient
from pipeline.params.captioners import Decoding
from pipeline.params.load import load
from pipeline.params.servers import CaptionServers
from pipeline.params.servers import ServerCaptioner as ServerParams

SIDE_PX = 24
EXECUTION = load(PROJECT / "params/demo.yaml", PROJECT).execution
PARAMS = ServerParams(
    model=MODEL,
    revision="0" * 40,
    engine=f"vllm {ENGINE_VERSION}",
    side_px=SIDE_PX,
    instructions={"Describe it.": 1.0},
    max_new_tokens=32,
    decoding=Decoding(temperature=0.0, top_p=1.0),
    cut_at_full_stop=True,
    loop_ngram_words=3,
    loop_max_repeats=2,
)
SETTINGS = CaptionServers(
    urls=["http://127.0.0.1:1/v1"],
    num_in_flight=64,
    num_per_server=4,
    timeout_s=5.0,
    num_attempts=3,
    max_wait_s=0.05,
    give_up_after_s=1.0,
)


def colour_of(number: int) -> tuple[int, int, int]:
    return (number % 250, number // 250, 7)


def picture(number: int) -> Picture:
    return Picture(number, f"set/{number}", None, (), lambda side: Image.new("RGB", (side, side), colour_of(number)))


def pictures(number: int) -> list[Picture]:
    return [picture(one) for one in range(number)]


def captions_of(number: int) -> list[str]:
    return [caption_of(colour_of(one)) for one in range(number)]


def captioner(servers: list[CaptionServer], params: ServerParams = PARAMS, **settings: Any) -> ServerCaptioner:
    changed = replace_struct(SETTINGS, urls=[server.url for server in servers], **settings)
    execution = replace_struct(EXECUTION, captioner_servers={MODEL: changed})
    return ServerCaptioner.open(params, Setting(execution, 0, "download/some", 0, None, "some/vlm@main"))


def replace_struct(struct: Any, **values: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(struct, **values)


def texts(captions: list[Caption | Reject]) -> list[str]:
    assert not [caption for caption in captions if isinstance(caption, Reject)]
    return [caption.text for caption in captions if isinstance(caption, Caption)]


@pytest.fixture
def server() -> Iterator[CaptionServer]:
    with serving(1) as servers:
        yield servers[0]


# --- as it should be


@pytest.mark.parametrize("number", [1, 3])
def test_captions_are_those_of_their_pictures_each_asked_once(number: int) -> None:
    with serving(number) as servers:
        seen = servers[0].seen
        found = captioner(servers).caption(pictures(40))
        assert texts(found) == captions_of(40)
        assert len(seen.questions) == len(seen.times) == 40
        assert seen.num_plain == number  # one before the work, at each
        assert min(one.num_asked for one in servers) >= 40 // number // 2
        assert all(one.most_open <= SETTINGS.num_per_server for one in servers)
        assert {question.size for question in seen.questions} == {(SIDE_PX, SIDE_PX)}
        fields = {"model": MODEL, "max_tokens": 32, "stream": False, "temperature": 0.0, "text": "Describe it."}
        assert all(question.fields == fields for question in seen.questions)


def test_a_caption_tells_how_it_ended_and_its_tokens_without_the_one_that_ends_it(server: CaptionServer) -> None:
    server.behaviour = for_colour(colour_of(1), says(answer_of("a long one. and", "length", 32)))
    stopped, cut = captioner([server]).caption(pictures(2))
    assert stopped == Caption(caption_of(colour_of(0)), "Describe it.", FinishReason.STOP, 10)
    assert cut == Caption("a long one.", "Describe it.", FinishReason.LENGTH, 32)


def test_later_batches_ask_no_plain_question_again(server: CaptionServer) -> None:
    asking = captioner([server])
    for _ in range(3):
        assert texts(asking.caption(pictures(4))) == captions_of(4)
    assert (server.seen.num_plain, len(server.seen.questions)) == (1, 12)
    assert asking.performance()["servers"] == {server.url: {"answers": 12, "failures": 0}}
    assert asking.caption([]) == []


def test_captions_know_what_they_come_from(server: CaptionServer) -> None:
    told = captioner([server], replace_struct(PARAMS, retry=Decoding(temperature=0.5, top_p=0.9))).provenance()
    assert (told.captioner, told.model, told.engine, told.engine_version) == (MODEL, "some/vlm@main", "vllm", "1.2.3")
    assert (told.decoding, told.retry) == ({"temperature": 0.0, "top_p": 1.0}, {"temperature": 0.5, "top_p": 0.9})
    assert server.seen.paths == []  # known without being asked


# --- a second try


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("", "empty_caption"), ("!!!!!!", "no_letters"), ("so it is so it is so it is so it is", "loop")],
)
def test_what_is_no_caption_is_written_once_more_with_other_decoding(
    server: CaptionServer, bad: str, reason: str
) -> None:
    params = replace_struct(PARAMS, retry=Decoding(temperature=0.7, top_p=0.9))
    server.behaviour = until(1, says(answer_of(bad)))
    assert texts(captioner([server], params).caption(pictures(1))) == captions_of(1)
    first, second = [question.fields for question in server.seen.questions]
    assert first["temperature"] == 0.0
    assert (second["temperature"], second["top_p"], second["seed"] >= 0) == (0.7, 0.9, True)
    server.behaviour = says(answer_of(bad))
    rejects = captioner([server], params).caption(pictures(2))
    assert [reject.reason for reject in rejects if isinstance(reject, Reject)] == [reason, reason]
    again = [question.fields["seed"] for question in server.seen.questions if "seed" in question.fields]
    assert second["seed"] in again  # hangs on the picture alone
    assert len(set(again)) == 2
    assert len(server.seen.questions) == 2 + 4
    [reject] = captioner([server]).caption(pictures(1))  # without a retry
    assert isinstance(reject, Reject)
    assert len(server.seen.questions) == 7


# --- what passes


@pytest.mark.parametrize(
    "bad",
    [
        status(500, "worker died"),
        status(408),
        cut_stream,
        ends_early,
        lambda handler, question: handler.give(b"<html>no JSON</html>"),
        lambda handler, question: handler.give(b"[]"),
        lambda handler, question: handler.give(b"", length=-1),
        says({"object": "chat.completion"}),
        says({**answer_of("x"), "choices": []}),
        says(answer_of("a half of", None)),
        says(answer_of("a half of", "abort")),
        hangs(0.6),
    ],
)
def test_a_bad_answer_is_asked_for_again(server: CaptionServer, bad: Behaviour) -> None:
    server.behaviour = for_colour(colour_of(2), until(1, bad))
    assert texts(captioner([server], timeout_s=0.4).caption(pictures(5))) == captions_of(5)
    assert server.seen.times == {colour_of(number): 2 if number == 2 else 1 for number in range(5)}


def test_a_server_is_left_alone_for_as_long_as_it_asks(server: CaptionServer) -> None:
    server.behaviour = until(1, status(429, Retry_After="1"))
    assert texts(captioner([server], num_per_server=1, give_up_after_s=3.0).caption(pictures(1))) == captions_of(1)
    first, second = [question.at for question in server.seen.questions]
    assert 1.0 <= second - first < 2.0


def test_what_one_server_does_not_want_now_another_gets(server: CaptionServer) -> None:
    with running(CaptionServer(server.seen)) as busy:
        busy.behaviour = status(429, Retry_After="3600")
        begin = time.monotonic()
        assert texts(captioner([server, busy]).caption(pictures(30))) == captions_of(30)
        assert time.monotonic() - begin < 3
        assert busy.num_asked <= SETTINGS.num_per_server
        assert server.num_asked == 30


def test_busy_is_no_fault_of_a_picture(server: CaptionServer) -> None:
    server.behaviour = until(SETTINGS.num_attempts + 3, status(429))
    assert texts(captioner([server]).caption(pictures(1))) == captions_of(1)


@pytest.mark.parametrize("bad", [hangs(3), status(500, "engine is dead"), status(503), cut_stream])
def test_a_server_that_does_not_work_is_left_out(server: CaptionServer, bad: Behaviour) -> None:
    with running(CaptionServer(server.seen)) as broken:
        broken.behaviour, broken.plain = bad, until(0, bad)  # it passes the check once
        broken.plain = lambda handler, question: (bad if broken.num_asked else well_of(question))(handler, question)
        server.delay_s = 0.05
        begin = time.monotonic()
        assert texts(captioner([server, broken], timeout_s=0.5).caption(pictures(60))) == captions_of(60)
        assert time.monotonic() - begin < 4
        assert broken.num_asked <= 2 * SETTINGS.num_per_server


def well_of(question: Any) -> Behaviour:
    return says(answer_of(caption_of(question.colour)))


def test_a_server_that_dies_half_way_and_comes_back_loses_nothing() -> None:
    seen = Seen()
    first = CaptionServer(seen)
    port = first.server_address[1]
    died = []

    def dies(handler: Any, question: Any) -> None:
        if question.number > 20:
            died.append(question.colour)
            raise ConnectionResetError
        well_of(question)(handler, question)

    first.behaviour = dies
    asking = captioner([first], give_up_after_s=20.0, num_attempts=8)
    with ExitStack() as stack:
        import threading

        stack.enter_context(running(first))

        def restart() -> None:
            while not died:
                time.sleep(0.01)
            stack.close()  # nobody listens now
            time.sleep(1.0)
            stack.enter_context(running(CaptionServer(seen, port)))

        thread = threading.Thread(target=restart)
        thread.start()
        found = asking.caption(pictures(50))
        thread.join()
    assert texts(found) == captions_of(50)
    assert seen.num_plain == 2  # it was looked at before it got work again
    asked_twice = [colour for colour, times in seen.times.items() if times > 1]
    assert set(asked_twice) <= set(died)


def test_a_server_that_is_not_up_yet_is_waited_for() -> None:
    import threading

    seen = Seen()
    late = CaptionServer(seen)
    port = late.server_address[1]
    late.server_close()
    with ExitStack() as stack:

        def start() -> None:
            time.sleep(0.7)
            stack.enter_context(running(CaptionServer(seen, port)))

        thread = threading.Thread(target=start)
        thread.start()
        found = captioner([late], give_up_after_s=10.0).caption(pictures(3))
        thread.join()
    assert texts(found) == captions_of(3)


# --- what does not pass


def test_a_picture_that_never_gets_an_answer_is_rejected_while_others_do(server: CaptionServer) -> None:
    server.behaviour = for_colour(colour_of(3), status(500, "CUDA error"))
    found = captioner([server]).caption(pictures(8))
    rejects = {number: one for number, one in enumerate(found) if isinstance(one, Reject)}
    assert list(rejects) == [3]
    assert rejects[3].reason == "not_described"
    assert "4 attempts" in rejects[3].detail
    assert "CUDA error" in rejects[3].detail
    assert server.seen.times[colour_of(3)] == SETTINGS.num_attempts + 1  # the last by itself
    # Before the work, and to see whose fault it is; once more where three failures came in a row, others being done.
    assert server.seen.num_plain in (2, 3)


def test_a_picture_that_ends_servers_takes_no_other_with_it(server: CaptionServer) -> None:
    ends: list[float] = []

    def may_end(handler: Any, question: Any) -> None:
        if question.colour == colour_of(5):
            ends.append(time.monotonic())
        begin = time.monotonic()
        time.sleep(0.1)
        if any(begin - 0.2 < end for end in ends):  # ended meanwhile, or not up again
            raise ConnectionResetError
        well_of(question)(handler, question)

    server.behaviour = server.plain = may_end
    found = captioner([server], num_per_server=8, num_attempts=2, give_up_after_s=30.0).caption(pictures(24))
    rejects = {number: one.reason for number, one in enumerate(found) if isinstance(one, Reject)}
    assert rejects == {5: "not_described"}
    assert len(ends) == 3


def test_no_picture_is_rejected_when_a_plain_one_has_no_answer_either(server: CaptionServer) -> None:
    server.behaviour = status(500, "out of memory")
    server.plain = lambda handler, question: (
        status(500, "out of memory") if server.seen.questions else well_of(question)
    )(handler, question)
    with pytest.raises(Transient, match=r"execution\.captioner_servers\.some/vlm: .*out of memory.*run again"):
        captioner([server]).caption(pictures(2))


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_picture_that_a_server_will_not_have_is_rejected_and_not_asked_again(
    server: CaptionServer, code: int
) -> None:
    server.behaviour = for_colour(colour_of(1), status(code, "image is too large"))
    found = captioner([server]).caption(pictures(3))
    assert isinstance(found[1], Reject)
    assert found[1].reason == "refused_picture"
    assert f"status {code}" in found[1].detail
    assert "image is too large" in found[1].detail
    assert len(server.seen.questions) == 3
    assert texts([found[0], found[2]]) == [caption_of(colour_of(0)), caption_of(colour_of(2))]


@pytest.mark.parametrize("code", [400, 413, 422])
def test_servers_that_refuse_every_picture_are_refused(server: CaptionServer, code: int) -> None:
    server.behaviour = status(code, "max_model_len is 512")
    with pytest.raises(Refusal, match=r"refused all of 3 pictures: status \d+: .*max_model_len") as refusal:
        captioner([server]).caption(pictures(3))
    assert not isinstance(refusal.value, Transient)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (status(400, "is not a multimodal model"), "not describe even a plain picture.*is not a multimodal model"),
        (says(answer_of("!!!!!!!!")), "what it says of a plain picture is no caption.*!!!!"),
        (says(answer_of("")), "what it says of a plain picture is no caption"),
        (says({**answer_of("a disc"), "usage": None}), r"without usage\.completion_tokens"),
        (says(answer_of("a disc", "content_filter")), "plain picture: content_filter"),
    ],
)
def test_a_server_that_does_not_describe_a_plain_picture_gets_no_work(
    server: CaptionServer, plain: Behaviour, said: str
) -> None:
    server.plain = plain
    with pytest.raises(Refusal, match=said) as refusal:
        captioner([server]).caption(pictures(3))
    assert server.url in str(refusal.value)
    assert server.seen.questions == []


@pytest.mark.parametrize(
    ("code", "said"), [(401, "key"), (403, "key"), (404, "end as in /v1"), (301, "leads elsewhere")]
)
def test_servers_that_cannot_be_asked_so_are_refused_at_once(server: CaptionServer, code: int, said: str) -> None:
    server.behaviour = status(code, Location="http://elsewhere.example/")
    begin = time.monotonic()
    with pytest.raises(Refusal, match=f"status {code}.*{said}") as refusal:
        captioner([server]).caption(pictures(4))
    assert not isinstance(refusal.value, Transient)
    assert "\n" not in str(refusal.value)
    assert time.monotonic() - begin < 2


def test_another_model_is_refused_with_those_that_are_served(server: CaptionServer) -> None:
    with running(CaptionServer(server.seen)) as other:
        other.models = ["Qwen/Qwen2.5-VL-7B-Instruct", "adapter"]
        line = f"{other.url}: serves Qwen/Qwen2.5-VL-7B-Instruct, adapter, not {MODEL};"
        with pytest.raises(Refusal, match=line):
            captioner([other, server]).caption(pictures(4))
        assert not other.num_asked
        found = captioner([other], served_as="adapter").caption(pictures(2))
        assert texts(found) == captions_of(2)
        assert {question.fields["model"] for question in other.seen.questions[-2:]} == {"adapter"}


def test_another_version_is_refused(server: CaptionServer) -> None:
    with pytest.raises(Refusal, match=r"is version 1\.2\.3; the captioner declares vllm 1\.2\.4"):
        captioner([server], replace_struct(PARAMS, engine="vllm 1.2.4")).caption(pictures(1))
    assert texts(captioner([server], replace_struct(PARAMS, engine="vllm")).caption(pictures(1))) == captions_of(1)


def test_when_all_are_dead_the_job_ends_and_may_be_run_again(server: CaptionServer) -> None:
    dead = CaptionServer(Seen())
    dead.server_close()
    begin = time.monotonic()
    with pytest.raises(Transient, match=r"none of 1 servers works \(http.*no_connection.*see to the servers, then run"):
        captioner([dead]).caption(pictures(4))
    assert 0.7 <= time.monotonic() - begin < 3.0


def test_nobody_waits_an_hour_for_a_server(server: CaptionServer) -> None:
    server.behaviour = status(429, Retry_After="3600")
    begin = time.monotonic()
    with pytest.raises(Transient, match=r"none of 1 servers works.*status_429"):
        captioner([server]).caption(pictures(4))
    assert time.monotonic() - begin < 1.0


# --- the key


KEY = "sk-very-secret-0123"


def test_the_key_goes_along_and_is_never_shown(server: CaptionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY + "\n")
    server.key = KEY
    assert texts(captioner([server], key_variable="SOME_KEY").caption(pictures(3))) == captions_of(3)
    server.key = "another"  # this server repeats what it was given
    with pytest.raises(Refusal, match=r"status 401.*<key>.*\$SOME_KEY") as refusal:
        captioner([server], key_variable="SOME_KEY").caption(pictures(3))
    assert KEY not in str(refusal.value)
    with pytest.raises(Refusal, match=r"status 401.*key_variable"):
        captioner([server]).caption(pictures(3))


@pytest.mark.parametrize("code", [400, 500])
def test_a_server_that_repeats_the_key_puts_it_into_no_reject(
    server: CaptionServer, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    server.behaviour = for_colour(colour_of(1), status(code, f"you said Bearer {KEY}, {KEY}"))
    found = captioner([server], key_variable="SOME_KEY").caption(pictures(2))
    assert isinstance(found[1], Reject)
    assert "<key>" in found[1].detail
    assert KEY not in found[1].detail


@pytest.mark.parametrize("value", ["", "  ", "with blank", "schlüssel"])
def test_a_variable_without_a_key_is_refused_without_its_value(
    server: CaptionServer, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(Refusal, match=r"key_variable: \$SOME_KEY") as refusal:
        captioner([server], key_variable="SOME_KEY")
    assert not value.strip() or value not in str(refusal.value)
