"""`mmkeras answer`: what a saved model says to questions about an image."""


def add_answer(parser):
    """Add the options of `mmkeras answer` that are its own."""
    parser.add_argument(
        "image", metavar="IMAGE", help="an image file, or '' for none: then the question alone is answered"
    )
    parser.add_argument("questions", nargs="+", metavar="QUESTION")


def answers_to(pipe, image, questions):
    """([(question, answer, its probability), …], sentences about what was not there to answer by).

    Args:
        pipe: a fitted `Pipeline` for `Answer`. image: str, a path. questions: list of str.

    Raises:
        ValueError: a model that does not answer questions, or reads more than one text and one picture.
    """
    import pandas as pd

    from mmkeras.data.columns import columns_of
    from mmkeras.evaluation.linear import word_columns

    task, columns = pipe.task, columns_of(pipe.modalities)
    pictures, words = [name for name, column in columns.items() if column.picture], word_columns(pipe.modalities)
    if not task.asks or len(pictures) > 1 or len(words) != 1 or len(columns) > len(pictures) + 1:
        raise ValueError(
            f"`answer` takes a model that answers by one text and one picture. Received: one for {type(task).__name__} that reads "
            f"{list(columns)}. Use `mmkeras predict MODEL --csv FILE`."
        )
    df = pd.DataFrame({words[0]: questions, **dict.fromkeys(pictures, image)})
    fitted = pipe.check_fitted()
    task, predictions = fitted.task, fitted.predict(df, keep=False)
    notes = ["No image: the question alone answers."] if pictures and not image else []
    for question, strange in zip(questions, task.strange(questions), strict=True):
        if strange or not question.strip():
            notes.append(
                f"{question!r} has no word of the training questions: {'the image' if image else 'nothing'} answers."
            )
    return list(zip(questions, task.decide(predictions), task.sure_of(predictions).tolist(), strict=True)), notes
