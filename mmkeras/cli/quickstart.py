"""What `mmkeras quickstart` does: draw a sample, learn, judge, and show some rows in words."""

import time

import mmkeras as mm

# Rows of each sample: by itself, for relations take more rows to learn than words and numbers; and when all run one after the
# other, in less than ten minutes on two cores.
ROWS = {"genre": 1200, "entailment": 1500, "captions": 10000, "retrieval": 6000, "answers": 6000, "sound": 1500}
WHOLE = {"genre": 1200, "entailment": 1500, "captions": 8000, "retrieval": 6000, "sound": 1000}
STORIES = {
    "genre": ("Genres of films", "Which genres a made-up film has, from its overview, its numbers and its date."),
    "entailment": (
        "Posts with pictures",
        "Whether one made-up post implies or contradicts another; only texts and pictures together tell.",
    ),
    "captions": (
        "Captions",
        "Sentences about drawn scenes, by a network that learns to see and to write from nothing.",
    ),
    "retrieval": (
        "Pictures and words",
        "Which drawn scene a sentence tells of, and which sentence tells of a scene; also of things that were never drawn for training.",
    ),
    "answers": (
        "Questions about pictures",
        "How many, what colour, what shape, where: answers about drawn scenes that words alone do not tell.",
    ),
    "sound": (
        "Calls",
        "Whether a problem is solved: what a sound on the phone means was said in words before.",
    ),
}
SCENE = 64  # pixels of the scenes that are asked about
# Pairs of colour and shape that no scene shows from which retrieval learns.
UNSEEN = ("red star", "yellow square", "green circle", "blue triangle")


def run(name, out, *, rows, seed, finish):
    """One sample, or all of them.

    Args:
        name: of the sample, one of `ROWS`; None for those of `WHOLE`, each in a folder of its own, and a page that links their reports.
        out: pathlib.Path of the folder to write to.
        rows: int, rows of each sample; None takes those of `ROWS` or `WHOLE`.
        seed, finish: see `genre`.
    """
    samples = {
        "genre": genre,
        "entailment": entailment,
        "captions": captions,
        "retrieval": retrieval,
        "answers": answers,
        "sound": sound,
    }
    if name is None:
        _whole({name: samples[name] for name in WHOLE}, out, rows, seed=seed, finish=finish)
    else:
        samples[name](out, ROWS[name] if rows is None else rows, seed, finish)


def _whole(samples, out, rows, *, seed, finish):
    from mmkeras.evaluation.pages import write_index

    begin, models = time.monotonic(), []
    for number, (name, learn) in enumerate(samples.items(), 1):
        title, story = STORIES[name]
        print(f"\n=== {number} of {len(samples)}: {title}. {story}\n", flush=True)
        start = time.monotonic()
        report = learn(out / name, WHOLE[name] if rows is None else rows, seed, finish)
        seconds, link = time.monotonic() - start, f"{name}/report.html"
        models.append({"title": title, "story": story, "report": report, "link": link, "seconds": seconds})
        page = write_index(models, out / "index.html")  # after each: there is something to look at early
        print(f"Open {page} in a browser.", flush=True)
    print(f"\nAll done in {time.monotonic() - begin:.0f} s.")


def genre(out, rows, seed, finish):
    """Genres of made-up films from text and numbers.

    Args:
        out: pathlib.Path of the folder to write to.
        rows: int, rows of the sample.
        seed: int, of the sample, the split and the training.
        finish: function of (pipe, test rows, out) that reports and saves; it returns the `Report`.

    Returns:
        The `Report`.
    """
    start = time.monotonic()
    df = mm.samples.movies(rows, seed=seed)
    train_rows, test_rows = mm.split_frame(df, 0.2, seed=seed)
    print(f"{len(train_rows)} made-up films to learn from, {len(test_rows)} to be judged on. One of them:\n")
    print(df.iloc[0].to_string(), "\n")
    pipe = mm.Pipeline(
        [
            mm.Text("overview", encoder="scratch", pooling="mean", sequence_length=64),
            mm.Text("overview", encoder="lexical", name="words"),
            mm.Tabular(
                numeric=["budget", "popularity", "revenue", "runtime"],
                datetime="release_date",
                zero_is_missing=["budget", "revenue"],
            ),
        ],
        mm.MultiLabel("genres"),
    )
    pipe.fit(train_rows, epochs=10, batch_size=32, seed=seed, verbose=2)
    shown = test_rows.head(5)
    for (_, row), labels in zip(shown.iterrows(), pipe.predict_labels(shown), strict=True):
        print(f"\n{row['overview'] or '(no overview)'}\n  budget {row['budget']:,}, {row['runtime']:g} minutes")
        print(f"  predicted: {', '.join(labels)}\n  true:      {', '.join(row['genres'].split('|'))}", flush=True)
    report = finish(pipe, test_rows, out)
    _done(start, out)
    return report


def entailment(out, rows, seed, finish):
    """Whether a made-up post, with its picture, entails another; neither the texts nor the pictures alone tell.

    Args:
        out, rows, seed, finish: see `genre`; the pictures are drawn into out/images.
    """
    start = time.monotonic()
    df = mm.samples.entailment(rows, seed=seed, directory=out / "images")
    train_rows, test_rows = mm.split_frame(df, 0.2, seed=seed)
    print(f"{len(train_rows)} made-up pairs of posts to learn from, {len(test_rows)} to be judged on. One of them:\n")
    print(df.iloc[0].to_string(), "\n")
    pipe = mm.Pipeline(
        [
            mm.Text(["text_1", "text_2"], encoder="lexical"),
            mm.Image(["image_1", "image_2"], encoder="scratch", image_size=(32, 32)),
        ],
        mm.MultiClass("label"),
        # Half of everything left out, the default, would leave few rows that show place and colour together.
        units=256,
        dropout=0.1,
    )
    pipe.fit(train_rows, epochs=30, batch_size=32, seed=seed, verbose=2, learning_rate=4e-3)
    report = finish(pipe, test_rows, out)
    shown = test_rows.head(5)
    for (_, row), label in zip(shown.iterrows(), pipe.predict_labels(shown), strict=True):
        print()
        for number in (1, 2):
            print(f"{row[f'text_{number}'] or '(no text)'} [{row[f'image_{number}'] or 'no picture'}]")
        print(f"  predicted: {label}\n  true:      {row['label']}")
    _done(start, out)
    return report


def captions(out, rows, seed, finish):
    """Captions of made-up scenes, by a network that learns to see and to write from nothing.

    Args:
        out, rows, seed, finish: see `genre`; the scenes are drawn into out/images.
    """
    start = time.monotonic()
    df = mm.samples.captions(rows, seed=seed, directory=out / "images")
    # The way of decoding for photos writes no two words twice, but here both groups may well be of "two red" shapes.
    task = mm.Caption(
        "caption", sequence_length=24, decoding={"method": "beam", "beam_width": 8, "length_penalty": 1.0}
    )
    train_rows, test_rows = mm.split_frame(task.group(df, ["image"]), 0.05, seed=seed)
    # More scenes teach more than more sentences about each.
    train_rows = train_rows.assign(caption=[texts[:2] for texts in train_rows["caption"]])
    print(f"{len(train_rows)} drawn scenes to learn from, {len(test_rows)} to be judged on. Captions of one of them:\n")
    print("\n".join(df["caption"].head(5)), "\n")
    pipe = mm.Pipeline(
        [mm.Image("image", encoder="scratch", image_size=(64, 64), pooling=None, augment=False)],
        task,
        width=128,
        dropout=0.0,
    )
    settings = {"epochs": 8, "batch_size": 48, "learning_rate": 5e-3, "weight_decay": 0.05}
    pipe.fit(train_rows, validation_data=0.03, seed=seed, verbose=2, **settings)
    report = finish(pipe, test_rows, out)
    shown = test_rows.head(5)
    for (_, row), text in zip(shown.iterrows(), pipe.predict_labels(shown), strict=True):
        print(f"\n{row['image']}\n  written: {text}\n  one true: {row['caption'][0]}")
    content = ["colours", "shapes", "counts", "relation"]
    told = [mm.samples.caption_content(text) for text in pipe.predict_labels(test_rows)]
    right = [said == dict(row) for said, (_, row) in zip(told, test_rows[content].iterrows(), strict=True)]
    print(f"\nColours, shapes, counts and places all right in {sum(right)} of {len(right)} unseen scenes.")
    picture = mm.plot_attention(mm.generate(pipe, shown.head(1)), 0, shown["image"].iloc[0], out / "attention.png")
    print(f"Wrote {picture}: where each word looked.")
    _done(start, out)
    return report


def retrieval(out, rows, seed, finish):
    """Pictures by words and words by pictures, learnt from nothing; and names of things that were never drawn for training.

    Args:
        out, rows, seed, finish: see `genre`; the scenes are drawn into out/images.
    """
    start = time.monotonic()
    df = mm.samples.captions(rows, seed=seed, directory=out / "images", groups=1).drop_duplicates("image")
    df = df.assign(kind=df["colours"] + " " + df["shapes"])
    df["content"] = df["counts"] + " " + df["kind"]
    unseen = df["kind"].isin(UNSEEN)
    train_rows, test_rows = mm.split_frame(df[~unseen], 0.1, seed=seed)
    print(
        f"{len(train_rows)} drawn scenes with a sentence each to learn from, {len(test_rows)} to be judged on. One of them:\n"
    )
    print(df.iloc[0].to_string(), "\n")
    pipe = mm.Pipeline(
        [
            mm.Text("caption", encoder="characters"),
            mm.Image("image", encoder="scratch", image_size=(64, 64), augment=False),
        ],
        mm.Retrieval(query="text", items="image", group="content", width=64),
        # Sums of what words say: what red circles and blue stars taught tells of red stars, too.
        depth=0,
        dropout=0.0,
    )
    settings = {"epochs": 10, "batch_size": 64, "learning_rate": 3e-3}
    pipe.fit(train_rows, validation_data=False, seed=seed, verbose=2, **settings)
    report = finish(pipe, test_rows, out)
    _show_hits(pipe, df.drop(train_rows.index), ["two red stars", "a yellow square", "three triangles that are blue"])
    prompts = {kind: [f"a {kind}", f"two {kind}s", f"three {kind}s"] for kind in sorted(df["kind"].unique())}
    names = mm.zero_shot(pipe, df[unseen], prompts).idxmax(axis=1)
    right = (names == df.loc[unseen, "kind"]).sum()
    print(
        f"\nNo scene to learn from had a {', a '.join(UNSEEN)}. By words alone, {right} of {len(names)} pictures of these are "
        f"named right, among {len(prompts)} names."
    )
    _done(start, out)
    return report


def answers(out, rows, seed, finish):
    """Answers to questions about made-up scenes, by networks that learn to see and to read from nothing.

    Args:
        out, rows, seed, finish: see `genre`; rows are scenes, drawn into out/images, each with two to six questions.
    """
    start = time.monotonic()
    df = mm.samples.questions(rows, seed=seed, directory=out / "images", size=SCENE)
    train_rows, test_rows = mm.split_frame(df, 0.1, seed=seed, by="image")
    print(f"{len(train_rows)} questions to learn from, {len(test_rows)} about other scenes. Those about one of them:\n")
    print(df[df["image"] == df["image"].iloc[0]].drop(columns="image").to_string(index=False), "\n")
    print("First a network learns to see: to tell of each scene which answers its questions have.", flush=True)
    seeing = learn_to_see(train_rows, out / "seeing.keras", seed=seed)
    print("Then its patches are shown to the words of a question.", flush=True)
    pipe = mm.Pipeline(
        [
            mm.Text("question", encoder="gru", pooling=None, sequence_length=24, name="question"),
            mm.Image("image", encoder=str(seeing), image_size=(SCENE, SCENE), pooling=None, augment=False),
        ],
        mm.Answer("answer", question_kind="kind"),
        units=128,
        dropout=0.1,
    )
    settings = {"epochs": 8, "batch_size": 64, "learning_rate": 2e-3}
    pipe.fit(train_rows, validation_data=0.05, seed=seed, verbose=2, **settings)
    report = finish(pipe, test_rows, out)
    shown = test_rows.head(5)
    print(f"\n{shown['image'].iloc[0]}")
    for (_, row), said in zip(shown.iterrows(), pipe.predict_labels(shown), strict=True):
        print(f"  {row['question']} {said}" + ("" if said == row["answer"] else f" (true: {row['answer']})"))
    _done(start, out)
    return report


def learn_to_see(asked, path, *, epochs=20, seed=0):
    """A file of a network, (B, 64, 64, 3) pixels → (B, 8, 8, 128) patches, that learnt from nothing what questions ask of drawn scenes.

    It learns to tell of each picture all answers that its questions have, as labels: "How many red stars are there? 2". A picture goes
    through it once in a pass, and no words have to be understood, so that it learns to see many times sooner than by single questions.

    Args:
        asked: DataFrame of image, question and answer.
        path: pathlib.Path of the `.keras` file to write.
        epochs: int. seed: int.
    """
    import keras

    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SCENE, SCENE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
    for filters, stride in ((16, 2), (32, 2), (64, 2), (128, 1)):
        x = keras.layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x)
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization(momentum=0.9)(x))
    told = asked["question"] + " " + asked["answer"]
    often = told.value_counts()
    pictures = told.groupby(asked["image"]).agg(list).rename("told").reset_index()
    keras.Model(pixels, x).save(path)
    image = mm.Image("image", encoder=path, trainable=True, pooling=None, augment=False)
    task = mm.MultiLabel("told", classes=sorted(often.index[: max(2, (often >= 10).sum())]))
    pipe = mm.Pipeline([image], task, units=256, dropout=0.0)
    pipe.fit(pictures, validation_data=False, epochs=epochs, batch_size=64, learning_rate=3e-3, seed=seed, verbose=2)
    pipe.encode.get_layer("image_tower").save(path)
    return path


def sound(out, rows, seed, finish):
    """Whether the problem of a made-up call is solved; neither the note nor the recording alone tells.

    Args:
        out, rows, seed, finish: see `genre`; the recordings are written into out/calls.
    """
    start = time.monotonic()
    df = mm.samples.calls(rows, seed=seed, directory=out / "calls")
    train_rows, test_rows = mm.split_frame(df, 0.2, seed=seed)
    print(f"{len(train_rows)} made-up calls to learn from, {len(test_rows)} to be judged on. One of them:\n")
    print(df.iloc[0].to_string(), "\n")
    pipe = mm.Pipeline(
        [
            mm.Text("note", encoder="lexical"),
            mm.Audio("call", encoder="scratch", sampling_rate=8000, bands=32, augment=False),
        ],
        mm.MultiClass("outcome"),
        fusion="bilinear",  # a product tells whether both agree
        units=256,
        dropout=0.1,
    )
    pipe.fit(train_rows, epochs=20, batch_size=32, seed=seed, verbose=2, learning_rate=3e-3)
    report = finish(pipe, test_rows, out)
    shown = test_rows.head(5)
    for (_, row), label in zip(shown.iterrows(), pipe.predict_labels(shown), strict=True):
        print(f"\n{row['note'] or '(no note)'} [{row['call'] or 'no call'}]")
        print(f"  predicted: {label}\n  true:      {row['outcome']}")
    _done(start, out)
    return report


def _show_hits(pipe, scenes, queries):
    """Print the three scenes that some words find first, and what was said of these.

    Args:
        pipe: fitted `Pipeline`. scenes: DataFrame. queries: list of str.
    """
    import pandas as pd

    scenes = scenes.set_index("image", drop=False)
    hits = mm.retrieve(pipe, pd.DataFrame({"caption": queries}, index=queries), scenes, k=3)
    for query, rows in hits.groupby("query", sort=False):
        print(f"\n{query}")
        for image, score in zip(rows["item"], rows["score"], strict=True):
            print(f"  {score:.2f}  {image}, of which was said: {scenes.loc[image, 'caption']}")


def _done(start, out):
    print(f"\nDone in {time.monotonic() - start:.0f} s. Next: mmkeras predict {out} --csv YOUR.csv, or see README.md.")
