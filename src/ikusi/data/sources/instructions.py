"""Published instructions about pictures and about text, and the formats that many sets share."""

from __future__ import annotations

from ikusi.data.sources.source import Fields, Source, View, columns

RATINGS = ("relevance", "visual_dependency", "image_correspondence", "formatting")
"""FineVision's, 1 to 5 for each turn."""

_TRANSLATOR = "HiTZ/Latxa-Llama-3.1-70B-Instruct"

INSTRUCTIONS: tuple[Source, ...] = (
    Source(
        name="pixmo-ama",
        about="PixMo-ask-model-anything: questions and answers about pictures",
        hub="allenai/pixmo-ask-model-anything",
        columns=columns("image_url text, image_sha256 text, question text, answer text"),
        views=(
            View(
                fields=Fields(
                    group="image_sha256",
                    images="image_url",
                    pictures="url",
                    sha256="image_sha256",
                    question="question",
                    answer="answer",
                )
            ),
        ),
        language="en",
        task="chat",
        licence="ODC-BY-1.0",
        provenance="allenai/pixmo-ask-model-anything",
    ),
    Source(
        name="pixmo-ama-eu",
        set="pixmo-ama",
        about="the same in Basque",
        hub="lukasArana/pixmo-ask-model-anything-eu",
        schema="assumed",
        columns=columns("image image, question text, answer text, image_sha256 text?"),
        views=(
            View(
                fields=Fields(
                    group="image_sha256", images="image", question="question", answer="answer"
                )
            ),
        ),
        language="eu",
        task="chat",
        provenance=_TRANSLATOR,
    ),
    Source(
        name="pixmo-cap-qa",
        about="PixMo-cap-qa: conversations made of PixMo-cap's descriptions",
        hub="allenai/pixmo-cap-qa",
        columns=columns("image_url text, question text?, answer text?, messages list"),
        views=(View(fields=Fields(images="image_url", pictures="url", conversation="messages")),),
        language="en",
        task="chat",
        licence="ODC-BY-1.0",
        provenance="allenai/pixmo-cap-qa",
    ),
    Source(
        name="pixmo-cap-qa-eu",
        set="pixmo-cap-qa",
        about="the same in Basque",
        hub="lukasArana/Pixmo-cap-qa-eu",
        columns=columns("image image, question text, answer text"),
        views=(View(fields=Fields(images="image", question="question", answer="answer")),),
        language="eu",
        task="chat",
        provenance=_TRANSLATOR,
    ),
    Source(
        name="finevision",
        about="FineVision: 24M conversations about pictures, rated; give its --subset",
        hub="HuggingFaceM4/FineVision",
        columns=columns(
            "images list, texts list, source text?, "
            + ", ".join(f"{name}_ratings list?, {name}_min int?" for name in RATINGS)
        ),
        views=(
            View(
                fields=Fields(
                    images="images",
                    conversation="texts",
                    ratings={name: f"{name}_ratings" for name in RATINGS},
                    meta=("source",),
                )
            ),
        ),
        language="en",
        task="chat",
        provenance="HuggingFaceM4/FineVision",
    ),
    Source(
        name="magpie",
        about="Magpie: a million instructions without pictures, written by Llama 3.1 8B",
        hub="HiTZ/Magpie-Llama-3.1-8B-Instruct-Filtered-1M",
        schema="assumed",
        columns=columns("conversations list"),
        views=(View(fields=Fields(conversation="conversations")),),
        language="en",
        task="chat",
        provenance="meta-llama/Llama-3.1-8B-Instruct",
    ),
    Source(
        name="magpie-eu",
        set="magpie",
        about="the same in Basque",
        hub="HiTZ/Magpie-Llama-3.1-8B-Instruct-Filtered-translated-1M",
        schema="assumed",
        columns=columns("conversations list"),
        views=(View(fields=Fields(conversation="conversations")),),
        language="eu",
        task="chat",
    ),
    Source(
        name="llava",
        about="LLaVA's JSON: id, image, conversations of {from, value} with <image> in them",
        is_format=True,
        columns=columns("conversations list, id any?, image any?"),
        views=(View(fields=Fields(images="image", conversation="conversations", marks=True)),),
        task="chat",
    ),
    Source(
        name="sharegpt",
        about="ShareGPT: conversations of {from, value}, and images, a list",
        is_format=True,
        columns=columns("conversations list, images any?, system text?, id any?"),
        views=(
            View(
                fields=Fields(
                    images="images", conversation="conversations", system="system", marks=True
                )
            ),
        ),
        task="chat",
    ),
    Source(
        name="ms-swift",
        about="ms-swift's JSON lines: messages of {role, content}, and images, a list",
        is_format=True,
        columns=columns("messages list, images any?, system text?"),
        views=(
            View(
                fields=Fields(images="images", conversation="messages", system="system", marks=True)
            ),
        ),
        task="chat",
    ),
)
