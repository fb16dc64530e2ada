"""Small tokenizer.json files, trained on the spot."""

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

TEXT = ["the cat sat on the mat", "über 中文 text 😀 the end", "User: hello\n\nAssistant: hi"] * 5


def byte_level(path):
    """Byte-level BPE; id 0 is the special <|endoftext|>, and "  " is added as plain text."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([tokenizers.AddedToken("    ", special=False, normalized=False)])
    tokenizer.save(str(path))
    return tokenizer


def byte_fallback(path):
    """Pieces with ▁ for spaces and <0xNN> for bytes, as SentencePiece makes them."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "a", "b", "▁a"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    bpe = models.BPE(vocab, [("▁", "a")], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(path))
    return tokenizer


def word_piece(path):
    """A kind whose tokens are not bytes."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(path))
