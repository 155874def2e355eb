"""mmkeras: multimodal learning on Keras 3. Text, images and tables from one DataFrame to one keras.Model."""

import importlib
import os
import sys


def _is_command():
    """Whether this process is the command `mmkeras`, or `python -m mmkeras`."""
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0] if getattr(sys, "argv", None) else ""
    module = ("-m", "mmkeras") in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
    return program.removesuffix("-script") == "mmkeras" or (program == "-m" and module)


# The command tells its options without TensorFlow: it loads what follows with the first name that it needs.
_waiting = "_waiting" not in globals() and _is_command()

if not _waiting:
    import mmkeras.backend as _backend  # noqa: F401 first: it loads TensorFlow
    from mmkeras import fusion, hub, layers, losses, samples, search, sources, testing
    from mmkeras.automl.estimator import Estimator
    from mmkeras.automl.fit import fit
    from mmkeras.automl.late import add_modality
    from mmkeras.data.batches import make_dataset
    from mmkeras.data.splits import split_frame
    from mmkeras.decoding import Captions
    from mmkeras.evaluation.report import Report
    from mmkeras.evaluation.sentences import score_captions
    from mmkeras.heads.decisions import build_head
    from mmkeras.inference.embed import embed
    from mmkeras.inference.encode_table import encode_table
    from mmkeras.inference.generate import generate
    from mmkeras.inference.index import Index, load_index
    from mmkeras.inference.retrieve import index_items, retrieve
    from mmkeras.inference.zero_shot import zero_shot
    from mmkeras.inspection.ablation import Ablation, ablate
    from mmkeras.inspection.attention import plot_attention
    from mmkeras.inspection.card import model_card
    from mmkeras.inspection.cross_validation import CrossValidation, cross_validate
    from mmkeras.inspection.explain import Explanation, explain
    from mmkeras.inspection.permutation import permutation_importance
    from mmkeras.inspection.probe import linear_probe
    from mmkeras.inspection.suggest import Suggestion, suggest
    from mmkeras.modalities import Audio, Image, Series, Tabular, Text, Vector
    from mmkeras.models.answerer import build_question_answerer
    from mmkeras.models.captioner import build_captioner
    from mmkeras.models.dual_encoder import build_dual_encoder
    from mmkeras.models.entailment import build_entailment_classifier
    from mmkeras.models.genre import build_genre_classifier
    from mmkeras.persistence import VERSION as __version__
    from mmkeras.pipeline import Pipeline, load
    from mmkeras.search.ensemble import Ensemble
    from mmkeras.tasks import Answer, Caption, MultiClass, MultiLabel, Regression, Retrieval
    from mmkeras.trunk.stages import build_encode, build_prepare, chain

__all__ = [
    # what columns mean
    "Text",
    "Image",
    "Audio",
    "Tabular",
    "Vector",
    "Series",
    # what the target means
    "MultiLabel",
    "MultiClass",
    "Regression",
    "Caption",
    "Answer",
    "Retrieval",
    # one model of one DataFrame
    "fit",
    "suggest",
    "Suggestion",
    "Pipeline",
    "add_modality",
    "Ensemble",
    "load",
    "embed",
    "encode_table",
    "zero_shot",
    "Index",
    "load_index",
    "index_items",
    "retrieve",
    "linear_probe",
    "explain",
    "Explanation",
    "permutation_importance",
    "model_card",
    "Report",
    "ablate",
    "Ablation",
    "cross_validate",
    "CrossValidation",
    "Estimator",
    "search",
    "fusion",
    "layers",
    "losses",
    "hub",
    # captions
    "generate",
    "Captions",
    "plot_attention",
    "score_captions",
    # the stages, for graphs and loops of one's own
    "build_prepare",
    "build_encode",
    "build_head",
    "chain",
    "make_dataset",
    "split_frame",
    # the tutorials' graphs
    "build_genre_classifier",
    "build_entailment_classifier",
    "build_captioner",
    "build_dual_encoder",
    "build_question_answerer",
    # data
    "samples",
    "sources",
    # checks of classes of one's own
    "testing",
    "__version__",
]


def __getattr__(name):
    if not _waiting or name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.reload(sys.modules[__name__])
    return globals()[name]
