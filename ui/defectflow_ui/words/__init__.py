"""Every string a user reads, one module per page. Plain words; a term that needs explaining gets a tooltip.

English is the source; de.po, es.po, ... hold the other languages. `language.py` finds a visitor's own when a page asks
for `words.title`. A function that puts a text together says it with `say` or `count`. `make words` brings new texts
into the catalogues.
"""

from importlib import import_module
from pkgutil import iter_modules

from defectflow_ui.language import Words

ALWAYS_ENGLISH = ("start",)
"""Words of the command, which are said before anybody visits."""

for _found in iter_modules(__path__):
    if _found.name not in ALWAYS_ENGLISH:
        import_module(f"{__name__}.{_found.name}").__class__ = Words
