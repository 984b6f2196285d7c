"""Lists of addresses as a source: what is listed, who may be asked, how one picture and how many are fetched."""
