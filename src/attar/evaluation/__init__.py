"""Honest accuracies: probes, protocols, and the rows that belong beside a distilled set."""

from attar.evaluation.measure import evaluate
from attar.evaluation.protocols import PROTOCOLS, Protocol, protocol
from attar.evaluation.result import Evaluation
from attar.evaluation.rows import Row
from attar.evaluation.scores import Difference, Summary, paired_difference, summarise
from attar.evaluation.student_protocols import STUDENT_PROTOCOLS, StudentProtocol, student_protocol

__all__ = [
    "PROTOCOLS",
    "STUDENT_PROTOCOLS",
    "Difference",
    "Evaluation",
    "Protocol",
    "Row",
    "StudentProtocol",
    "Summary",
    "evaluate",
    "paired_difference",
    "protocol",
    "student_protocol",
    "summarise",
]
