#!/usr/bin/env bash
# transformers 5.23.0: a T5 folder with a configuration and no tokenizer file still gives a tokenizer, without an error:
# one made up of special tokens alone (104 entries), in which every word is the same unknown token. Whoever saves an
# encoder without its tokenizer embeds all captions of equal length alike.
# Exits with an error where the pinned version behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
mkdir "$folder/t5"
echo '{"model_type": "t5", "vocab_size": 32128}' > "$folder/t5/config.json"
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - 2> errors.txt <<'PYTHON'
import transformers

tokenizer = transformers.AutoTokenizer.from_pretrained("t5", local_files_only=True)
first, second = tokenizer(["red dog", "blue ship"]).input_ids
print(f"transformers {transformers.__version__}: {type(tokenizer).__name__} of {len(tokenizer)} tokens")
print(f"'red dog' and 'blue ship' are {tokenizer.convert_ids_to_tokens(first)}")
assert len(tokenizer) == 104, len(tokenizer)
assert first == second and tokenizer.unk_token_id in first
PYTHON
