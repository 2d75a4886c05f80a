# What `import turboserver` gives, for type checkers. The module answers `accelerated` in a __getattr__, by
# which a checker would take every other name for one of it; so it has a stub. No code may live here.

from turboserver._install import install as install, uninstall as uninstall

__all__ = ["accelerated", "install", "uninstall", "__version__"]

__version__: str
accelerated: bool
