"""Run by a process of its own: what somebody does who has transformers and not ikusi.

    python plain.py ROOT QUESTION...

Each folder of ROOT holds a checkpoint in `model`, and a PNG per question. Writes `plain.npz` there:
the ids and logits of each prompt, and the greedy answers of all of them as one batch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

root, questions = Path(sys.argv[1]), sys.argv[2:]
for folder in root.iterdir():
    processor = AutoProcessor.from_pretrained(folder / "model")
    model = LlavaForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)
    images = [Image.open(folder / f"{number}.png") for number in range(len(questions))]
    contents = [[{"type": "image"}, {"type": "text", "text": question}] for question in questions]
    chats = [
        processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        for content in contents
    ]
    found = {}
    with torch.no_grad():
        for number, (image, chat) in enumerate(zip(images, chats, strict=True)):
            inputs = processor(images=image, text=chat, return_tensors="pt")
            found[f"ids{number}"] = inputs["input_ids"][0].numpy()
            found[f"logits{number}"] = model(**inputs).logits[0].numpy()
        inputs = processor(images=images, text=chats, padding=True, return_tensors="pt")
        said = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    answers = said[:, inputs["input_ids"].shape[1] :]
    found["answers"] = np.array(processor.batch_decode(answers, skip_special_tokens=True))
    np.savez(folder / "plain.npz", **found)
assert "ikusi" not in sys.modules
