"""Tiny translation models with random weights and real tokenizers, made on the spot."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

SENTENCES = [
    "There is a dog in the picture.",
    "Etxe handi bat ikusi dut irudian.",
    "What colour is the background?",
    "Zein da hondoaren kolorea?",
    "A cat sits on a red chair.",
    "Katu bat aulki gorri batean eserita dago.",
]


_SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "init_std": 0.5,
}


def _train_pieces(folder: Path) -> Path:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=model,
        vocab_size=90,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = folder / "pieces.model"
    path.write_bytes(model.getvalue())
    return path


def make_marian(folder: Path, languages: tuple[str, ...] = ()) -> Path:
    """Return the folder of a Marian model; with `languages`, one that is told the target."""
    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True)
    spm = _train_pieces(folder)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    tokens = ["</s>", "<unk>", *(f">>{name}<<" for name in languages)]
    known = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
    tokens += [piece for piece in known if piece not in ("<s>", "</s>", "<unk>")]
    tokens.append("<pad>")
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(spm.read_bytes())
    spm.unlink()
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm"),
        target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"),
        model_max_length=64,
    )
    tokenizer.save_pretrained(folder)
    pad = len(tokens) - 1
    config = MarianConfig(
        vocab_size=len(tokens),
        max_position_embeddings=128,
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
        scale_embedding=True,
        activation_function="swish",
        **_SMALL,
    )
    torch.manual_seed(2)
    model = MarianMTModel(config)
    with torch.no_grad():
        for weights in model.model.encoder.parameters():
            weights.mul_(2)  # so that it does not say the same whatever it reads
        model.final_logits_bias[0, 0] = 7.0  # some sentences end
    model.save_pretrained(folder)
    return folder


def make_nllb(folder: Path, languages: tuple[str, ...]) -> Path:
    """Return the folder of a model of NLLB's kind, which reads letters."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    letters = sorted({letter for text in SENTENCES for letter in text if letter != " "})
    names = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *letters]
    tokenizer = NllbTokenizer(
        vocab={name: number for number, name in enumerate(names)},
        merges=[],
        src_lang=languages[0],
        extra_special_tokens=list(languages),
        model_max_length=64,
    )
    tokenizer.save_pretrained(folder)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        **_SMALL,
    )
    torch.manual_seed(2)
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def make_madlad(folder: Path, languages: tuple[str, ...]) -> Path:
    """Return the folder of a model of MADLAD's kind, which reads letters."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    letters = sorted({letter for text in SENTENCES for letter in text if letter != " "})
    names = ["<pad>", "</s>", "<unk>", "\u2581", *(f"<2{name}>" for name in languages), *letters]
    tokenizer = T5Tokenizer(vocab=[(name, -1.0) for name in names], extra_ids=0)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    torch.manual_seed(2)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def convert(folder: Path, out: Path) -> Path:
    """Return the folder of the same model for CTranslate2."""
    from ctranslate2.converters import TransformersConverter

    names = ["source.spm", "target.spm", "vocab.json", "tokenizer.json", "tokenizer_config.json"]
    copied: list[Any] = [name for name in names if (folder / name).is_file()]
    TransformersConverter(str(folder), copy_files=copied).convert(str(out))
    return out
