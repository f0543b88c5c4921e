"""The report: a run folder in, one HTML file out that needs no network and no script."""

from pathlib import Path
from typing import Any

from thalweg.core.files import write_own
from thalweg.report.blocks import Section
from thalweg.report.checks import checks
from thalweg.report.decoded_texts import decoded_texts
from thalweg.report.error_surface import landscape_section
from thalweg.report.evidence import Evidence, read_evidence
from thalweg.report.looks import augmentation, looks
from thalweg.report.performance import curves, predictions, scores
from thalweg.report.reasoning import causes, experiments, losses
from thalweg.report.settings import model, notices, recipe, versions
from thalweg.report.shift import shift
from thalweg.report.tried import diary, proofs
from thalweg.report.verdict import verdict
from thalweg.report.wording import clean

HERE = Path(__file__).parent


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder, from the files that are there, and give its path.

    It reads run.json, recipe.json, metrics.jsonl, evaluation.json, preprocessing.json, predictions/*.csv, inside.json,
    decoding.json, augmentation.json, landscape.json, the head of checkpoints/best.safetensors, finding.json,
    proofs/*.json and diary.json; without a file, its section is left out.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "run.json").write_text('{"run": "one", "status": "FINISHED"}')
    >>> write_report(folder).name
    'report.html'

    Raises `RunError` for a folder without run.json, and for a damaged file, which it names.
    """
    path = folder / "report.html"
    write_own(path, page(read_evidence(folder)).encode())
    return path


def page(evidence: Evidence) -> str:
    """The whole page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    name = clean(evidence.run.get("name") or evidence.folder.name, 80)
    return environment.get_template("page.html").render(
        name=name,
        run=clean(evidence.run.get("run") or evidence.folder.name, 120),
        created=clean(evidence.run.get("created") or "", 40).replace("T", " ").replace("+00:00", " UTC"),
        verdict=verdict(evidence),
        sections=[section for section in sections(evidence) if section.blocks],
        versions=versions(evidence),
        css=_trusted((HERE / "page.css").read_text(encoding="utf-8")),
    )


def sections(evidence: Evidence) -> list[Section]:
    """All sections in their order, those without content too."""
    reasons = [
        losses(evidence),
        causes(evidence),
        shift(evidence),
        checks(evidence),
        experiments(evidence),
        proofs(evidence),
        diary(evidence),
    ]
    worth = [curves(evidence), scores(evidence), *predictions(evidence), *decoded_texts(evidence), looks(evidence)]
    worth += [augmentation(evidence), landscape_section(evidence.landscape)]
    first = reasons if evidence.finding else []
    last = [] if evidence.finding else reasons
    curve, *others = worth
    return [*first, curve, *last, *others, model(evidence), recipe(evidence), notices(evidence)]


def _shown(value: Any) -> Any:
    """What the template writes for a value: our own SVG and CSS as they are, any text without what could act."""
    return value if hasattr(value, "__html__") else clean(value, 4000)


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
