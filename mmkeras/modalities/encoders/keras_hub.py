"""Pretrained text encoders of KerasHub: presets, handles, and local directories."""

import inspect

from mmkeras import hub, layers
from mmkeras.modalities.encoders import presets
from mmkeras.modalities.encoders.base import strings
from mmkeras.modalities.encoders.families import family_of, text_half
from mmkeras.modalities.encoders.hub_images import in_dtype
from mmkeras.modalities.encoders.transformer import Transformer
from mmkeras.registry import subclasses


class KerasHub(Transformer):
    """What `Text` takes an `encoder` for that no other encoder reads."""

    pretrained = True

    @staticmethod
    def load_backbone(encoder, dtype=None):
        """keras.Model, or `TextHalf`, of a preset, a handle or a directory; see `load`."""
        backbone = load(encoder, "Backbone", dtype=dtype)
        if dtype is not None and hasattr(backbone, "text_encoder"):
            backbone = in_dtype(backbone, dtype)
        return text_half(backbone, encoder)

    @staticmethod
    def load_tokenizer(encoder):
        """The tokenizer that belongs to it; see `load`."""
        return load(encoder, "Tokenizer")

    def adapt(self, df):
        if self.modality.preprocessor is not None:
            return {}  # it brings its vocabulary along
        tokenizer = self.load_tokenizer(self.modality.encoder)
        check_reads_both_ways(tokenizer, self.modality.encoder)
        family = family_of(tokenizer)
        if family.preprocessor and len(self.modality.columns) > 1:
            raise ValueError(
                f"The text half of an image-text preset reads one column. Received: {self.modality.columns} with "
                f"{self.modality.encoder!r}. Use one `Text` for each."
            )
        learnt = {"form": text_form(self.modality.encoder, family)} if family.preprocessor else {}
        if family.preprocessor and self.modality.sequence_length is None:
            learnt["sequence_length"] = most_tokens(self.modality.encoder)
        if self.modality.pooling == "sentence" and family.tells:
            learnt["sentence"] = sentence_pooling(self.modality.encoder)
        return {"tokenizer": tokenizer, **learnt}

    def recall(self, known):
        return {} if self.modality.preprocessor is not None else super().recall(known)

    def prepare(self, raw):
        if self.modality.preprocessor is None:
            if form := self.modality.state.get("form"):
                raw = {c: layers.FormText(**form, name=f"{self.name}_form")(texts) for c, texts in raw.items()}
            return super().prepare(raw)
        length = self.modality.length
        tokenize = hub.HubPreprocessor(self.modality.preprocessor, length, name=f"{self.name}_tokens")
        return tokenize(strings(raw))

    def backbone(self):
        self.check()  # a directory may hold something else by now
        return self.load_backbone(self.modality.encoder, self.modality.dtype)

    def top_blocks(self):
        if self.modality.trainable == "lora":
            return self.modality.lora_blocks or 0
        return 0 if self.modality.trainable is True else int(self.modality.trainable)

    def tower_layers(self, fine_tune):
        top = self.top_blocks()
        towers = {f"{self.name}_tower": fine_tune and bool(self.modality.trainable) and not top}
        return {**towers, f"{self.name}_tower_top": fine_tune} if top else towers


def load(encoder, kind, **settings):
    """Load the "Backbone" or the "Tokenizer" of a preset, a handle or a local directory, see `presets.load`."""
    import keras_hub

    part = {"Backbone": keras_hub.models.Backbone, "Tokenizer": keras_hub.tokenizers.Tokenizer}[kind]
    return presets.load(part, encoder, what=f"a text {kind.lower()}", **settings)


def check_reads_both_ways(tokenizer, encoder):
    """Raise where a tokenizer is that of a causal language model: its first token, `pooling="cls"`, knows nothing of the text."""
    import keras_hub

    backbone = getattr(tokenizer, "backbone_cls", None)
    if backbone is not None and backbone in {cls.backbone_cls for cls in subclasses(keras_hub.models.CausalLM)}:
        raise ValueError(
            f"`encoder` of `Text` must read each token with those on both sides of it. Received: {encoder!r}, a {backbone.__name__}, a causal "
            "language model, whose tokens know only what is before them. Use a preset of sentences, such as 'all_minilm_l6_v2_en'."
        )


def text_form(encoder, family):
    """Settings of `layers.FormText` by what prepares the texts of an image-text preset; its usual ones where the preset has none."""
    import keras_hub

    kind = getattr(keras_hub.models, family.preprocessor)
    usual = inspect.signature(kind).parameters
    try:
        own = presets.load(kind, encoder, what="a preprocessor of texts and images")
    except ValueError:  # of its tokenizer and weights alone
        own = None

    def setting(name):
        return bool(getattr(own, name, usual[name].default)) if name in usual else False

    bare = setting("canonicalize_text")
    return {"lower": setting("to_lower") or bare, "bare": bare}


def most_tokens(encoder):
    """How many tokens the text half of an image-text preset takes, by its settings alone."""
    return text_half(load(encoder, "Backbone", load_weights=False), encoder).max_sequence_length


def sentence_pooling(encoder):
    """[pooling, whether it has length 1] that a preset of sentences says; the mean of length 1 where it says nothing."""
    import keras_hub

    embedder = presets.load(keras_hub.models.TextEmbedder, encoder, what="an encoder of sentences", load_weights=False)
    if embedder.pooling_mode not in ("mean", "cls"):
        raise ValueError(
            f"`pooling='sentence'` knows presets that take the mean or the first token. Received: {encoder!r}, which takes "
            f"{embedder.pooling_mode!r}. Use 'mean' or 'cls'."
        )
    return [embedder.pooling_mode, bool(embedder.normalize)]
