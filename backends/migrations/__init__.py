"""Every change of the tables, in order: `versions/NNNN_words.py` is revision NNNN; `make revision` drafts the next."""
