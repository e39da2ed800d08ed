"""Honest accuracies: probes, protocols, and the rows that belong beside a distilled set."""

from attar.evaluation.measure import evaluate
from attar.evaluation.protocols import PROTOCOLS, Protocol, protocol
from attar.evaluation.result import Evaluation
from attar.evaluation.rows import Row
from attar.evaluation.scores import Difference, Summary, paired_difference, summarise

__all__ = [
    "PROTOCOLS",
    "Difference",
    "Evaluation",
    "Protocol",
    "Row",
    "Summary",
    "evaluate",
    "paired_difference",
    "protocol",
    "summarise",
]
