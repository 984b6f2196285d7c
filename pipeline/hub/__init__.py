"""The Hugging Face Hub: files of a repository at one commit, and what it answers, in one line."""
