"""Record: what a benchmark measured, as the plain data of bench.json; raw times are kept for later comparisons.

The types say what this medseg writes. When a file is read, `schema` checks what a comparison needs; SCHEMA says whether
its entries have the meaning they have here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

SCHEMA = 2  # since 2: a score has one name in `evaluate` and here
PERCENTILES = (50, 90, 95, 99)

Facts = Mapping[str, str | float | bool | None]  # engine, precision, where and so on
Summary = dict[str, float]  # requests and errors, and where there were answers p50_s and so on


class MeanRecord(TypedDict):
    """A score over all cases, or its change, with its 95 % interval."""

    mean: float
    low: float | None
    high: float | None
    cases: int


class TimingRecord(TypedDict):
    """One request: seconds since its level began, where they went, and what went wrong."""

    case: str
    intended_s: float
    sent_s: float
    done_s: float
    stages: dict[str, float]
    items: dict[str, int]
    error: str | None
    client_s: float


class Columns(TypedDict):
    """The requests of a level of load, an entry each in every column."""

    case: list[str]
    intended_s: list[float]
    sent_s: list[float]
    done_s: list[float]
    error: list[str | None]


class Serial(TypedDict):
    """The requests one at a time."""

    summary: Summary
    timings: list[TimingRecord]


class WindowRecord(TypedDict):
    """A stretch of a level of load."""

    start_s: float
    end_s: float
    answered: int
    failed: int
    median_s: float | None
    per_s: float


class LevelRecord(TypedDict):
    """One concurrency or one rate."""

    mode: str
    load: float
    stable: bool
    per_s: float
    summary: Summary
    windows: list[WindowRecord]
    timings: Columns


class LedgerRow(TypedDict):
    """One stage: its time, its share of the whole, and what a network was given there."""

    stage: str
    seconds: float
    share: float
    items: float | None


class LedgerRecord(TypedDict):
    """Where the time of a request goes, and a sentence on what to speed up next."""

    rows: list[LedgerRow]
    total_s: float
    median_s: float
    next: str


class PictureRecord(TypedDict):
    """One of the first target's worst rows, drawn with every target's answer: a PNG in base64."""

    case: str
    metric: str
    scores: dict[str, float]  # target -> its score there
    png: str


class UsageRecord(TypedDict):
    """Memory, GPU and load while a target was measured."""

    peak_client_mib: float
    peak_server_mib: float
    peak_gpu_mib: float | None
    mean_gpu_watts: float | None
    busy: float
    samples: list[tuple[float, float]]


class TargetRecord(TypedDict):
    """Everything measured of one target."""

    name: str
    facts: Facts
    first_s: float | None
    serial: Serial
    ledger: LedgerRecord | None
    fan_out: dict[str, float]
    round_trip_s: float | None
    client_s: float | None
    levels: list[LevelRecord]
    scores: dict[str, dict[str, float]]  # row -> score -> value
    accuracy: dict[str, MeanRecord]
    counts: dict[str, int]
    paired: dict[str, MeanRecord]  # to the first target
    answers: dict[str, str]  # case -> sha256
    problems: list[str]
    interrupted: bool
    usage: UsageRecord | None
    yardstick_s: float | None


class CaseRecord(TypedDict):
    """A case's files."""

    id: str
    sha256: dict[str, str]


class RunRecord(TypedDict):
    """A run's files."""

    path: str
    network: str
    files: dict[str, str]  # name -> sha256


ScoreChange = TypedDict(
    "ScoreChange",
    {
        "target": str,
        "metric": str,
        "score": float,
        "from": NotRequired[str],  # the target that differs least
        "changed": NotRequired[list[str]],
        "change": NotRequired[MeanRecord | None],
    },
)


class StageRecord(TypedDict):
    """One file of a network on the same inputs as torch."""

    file: str
    engine: str
    dice: float | None
    truth_dice: float | None
    flipped: int | None
    lost: int | None
    gained: int | None
    milliseconds: float | None
    note: str


class WaterfallRecord(TypedDict):
    """A network's files beside torch."""

    network: str
    samples: str
    stages: list[StageRecord]


class CheckRecord(TypedDict):
    """One number of one target, in the earlier run and now."""

    target: str
    what: str
    before: float
    after: float
    change: float
    low: float
    high: float
    limit: float
    verdict: str
    unit: str


class Against(TypedDict):
    """The comparison with an earlier run."""

    started: str
    checks: list[CheckRecord]
    sentences: list[str]


class GpuRecord(TypedDict):
    """The GPU of a machine; None stands for what it does not tell, such as the clock of a GPU slice."""

    name: str
    driver: str
    memory_gib: float | None
    clock_mhz: int | None
    clock_limit_mhz: int | None


class MachineRecord(TypedDict):
    """What was measured on."""

    cpu: str
    cores: int | None
    clock_mhz: int | None
    memory_gib: float
    load_at_start: list[float]
    system: str
    gpu: GpuRecord | None
    versions: dict[str, str]


class ClientRecord(TypedDict):
    """The load generator's own share of a request."""

    overhead_s: float


class PartRecord(TypedDict):
    """One of the runs that a merged record was made of."""

    label: str  # stands behind the names of its targets
    started: str
    medseg: str
    machine: MachineRecord
    command: list[str]


class Record(TypedDict):
    """A whole bench.json."""

    schema: int
    medseg: str
    task: str
    main: str  # the score that is drawn; empty where the task has none
    brief: list[str]  # the scores in the tables; empty: all
    voters: dict[str, str]  # networks that are steps by themselves -> the step
    command: list[str]
    started: str
    plan: Mapping[str, float | None]
    machine: MachineRecord
    client: ClientRecord
    cases: list[CaseRecord]
    runs: list[RunRecord]
    targets: list[TargetRecord]
    networks: list[TargetRecord]
    waterfalls: list[WaterfallRecord]
    score_changes: list[ScoreChange]
    pictures: list[PictureRecord]
    interrupted: bool
    against: NotRequired[Against]
    merged: NotRequired[list[PartRecord]]
