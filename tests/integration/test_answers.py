"""Questions of verification put to a real vLLM server with the tiny captioner, which knows no questions.

Rows are looked at here, not sense.
"""

from pathlib import Path

import pytest

from facap.annotate.config import EngineConfig
from facap.progress import Progress
from facap.schemas import ANSWERS, IMAGES, from_rows
from facap.store import Store, fingerprint
from facap.verify import answers, pipeline
from facap.verify.config import VerifyConfig
from facap.verify.origin import Origin
from facap.verify.report import publish
from tests.annotation_server import NAME, Server, asked
from tests.verification import drawn_pairs, fill

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def test_a_killed_run_asks_only_what_is_left(
    asked_server: Server, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    question = tmp_path / "short.jinja"  # the captioner's context is too small for the shipped one
    question.write_text("what {{ attribute }} has the {{ category }}")
    config = VerifyConfig(
        ask="attribute",
        question=str(question),
        model=NAME,
        chat=True,
        max_failure_rate=1.0,
        max_tokens=24,
        endpoint=asked(asked_server),
        engine=EngineConfig(rows_per_part=8),
    )
    store = Store(str(tmp_path / "work"))
    pairs = drawn_pairs()[:8]
    fill(store, pairs, [pair.text for pair in pairs], None)
    images = store.read("images").to_pylist()
    images[0]["bytes"] = b"\xff\xd8 not a picture"  # r0
    stage = store.stage("images", IMAGES, "damaged")
    stage.write(from_rows(images, IMAGES))
    stage.commit({}, {})
    needed = pipeline.needed(pipeline.good_triplets(store), config)
    questions = sorted((image, attribute) for image in needed for attribute in needed[image])
    inputs = {"images": store.fingerprint("images"), "questions": fingerprint(questions)}
    stage = store.stage("answers", ANSWERS, answers.key(config, inputs))
    mine = [question for question in questions if question[0] != "r0"]
    done, failed = mine[:5], mine[5]
    row = Origin(config).of("dress") | {"status": "ok", "answer": "of the killed run"}
    stage.write(from_rows([row | {"image_id": i, "attribute": a} for i, a in done], ANSWERS))
    lost = {"image_id": failed[0], "attribute": failed[1], "status": "engine_error", "answer": None}
    stage.write(from_rows([row | lost], ANSWERS))

    report = pipeline.run(store, config, Progress("verify"))

    found = {(r["image_id"], r["attribute"]): r for r in store.read("answers").to_pylist()}
    assert sorted(found) == questions and store.require("answers").rows == len(questions)
    assert all(found[question]["answer"] == "of the killed run" for question in done)
    broken = {r["status"] for (image, _), r in found.items() if image == "r0"}
    assert broken == {"undecodable"}
    fresh = [r for question, r in found.items() if question not in done and question[0] != "r0"]
    assert fresh and all(r["prompt_tokens"] > 16 and r["raw"] is not None for r in fresh)
    assert f"answers {len(questions) - len(done)} questions" in capfd.readouterr().out

    rows = {row["reference_id"]: row for row in store.read("verdicts").to_pylist()}
    assert report.rows_in == len(rows) == len(pairs)
    lacking = {image for (image, _), r in found.items() if r["status"] != "ok"}
    unanswered = {row["reference_id"] for row in rows.values() if row["status"] == "no_answer"}
    assert unanswered == {f"r{n}" for n in range(8) if {f"r{n}", f"t{n}"} & lacking} >= {"r0"}
    assert all(r["unspoken"] is None and r["rank"] is None for r in rows.values())
    assert all(r["model"] == f"{NAME}@endpoint" for r in rows.values())
    assert pipeline.run(store, config, Progress("verify")).reused
    publish(store, "")  # also without ranks
