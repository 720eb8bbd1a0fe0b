"""The drops of one session: opened here, and kept until whoever judges them or learns from them closes them."""

from __future__ import annotations

from defectflow.errors import DataError
from defectflow_ui.disk_errors import writing
from defectflow_ui.settings import MIB, Limits
from defectflow_ui.visits.uploads import Drop
from defectflow_ui.words import uploads as words


class Drops(dict[str, Drop]):
    """Drops by token. None is ever removed while somebody looks at its pictures, however many there are."""

    def open(self, limits: Limits) -> Drop:
        """A new drop. Raises DataError if this session is sending, or holds, as much as it may, or the disk does."""
        for token, drop in list(self.items()):
            if drop.unread:
                drop.close()
            if drop.closed:
                self.pop(token, None)
        drops = list(self.values())
        if sum(not drop.ended for drop in drops) >= limits.open_drops:
            raise DataError(words.too_many_open(limits.open_drops))
        if (held := sum(drop.size for drop in drops)) >= limits.session_bytes:
            raise DataError(words.session_full(held / MIB, limits.session_bytes // MIB))
        with writing(words.this_drop):
            made = Drop(limits)
        self[made.token] = made
        return made
