"""Is a distilled image a copy of a training image, and does the test set leak? (evaluation.md 11)"""

from attar.evaluation.audit.duplicates import Duplicate, near_duplicates
from attar.evaluation.audit.perform import audit
from attar.evaluation.audit.record import NO_GUARANTEE, Audit, Pair, Search
from attar.evaluation.audit.sheet import contact_sheet

__all__ = ["NO_GUARANTEE", "Audit", "Duplicate", "Pair", "Search", "audit", "contact_sheet", "near_duplicates"]
