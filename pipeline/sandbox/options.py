"""The options of a sandbox."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError
from pipeline.sandbox.faults import Fault

Target = Literal["task", "assignment", "ground_truth"]
SMALLEST_PICTURE = 72
TARGETS: tuple[Target, ...] = ("task", "assignment", "ground_truth")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """Everything that shapes a sandbox; equal options give equal data and equal behaviour.

    Times are seconds. ``profile``: ``tidy`` (clean data to look at), ``nasty`` (every known malformation between
    clean records), ``bench`` (the record of the performance figures). ``payload``: ``raw`` documents inline,
    ``presigned`` behind URLs, or ``mixed`` row by row; the last two act only on requests with
    ``response_mode=presigned``, as on the real server. ``pagination="page"`` is a backend that predates cursors.
    """

    profile: Literal["tidy", "nasty", "bench"] = "tidy"
    records: int = 300
    seed: int = 1
    kinds: tuple[str, ...] = ()
    """Only for ``nasty``: the malformations to use, by name (:data:`pipeline.sandbox.NASTY_KINDS`); empty means all."""
    payload: Literal["raw", "presigned", "mixed"] = "raw"
    pagination: Literal["cursor", "page"] = "cursor"
    ids_filter_ground_truth: bool = True
    """Whether ``ids=`` narrows ground truth events; when not it is ignored with 200, like any unknown key."""
    page_latency: float = 0.0
    offset_latency: float = 0.0
    """Extra seconds per skipped row in page-number pagination; above 100 s the answer is Cloudflare's 524."""
    blob_latency: float = 0.0
    url_ttl: float = 600.0
    file_urls: Literal["signed", "media", "some", "none"] = "signed"
    """``media``: scheme-less ``/media/…`` URLs without a signature, as air-gapped deployments give. ``some``: each
    third record has null for its URLs; ``none``: all have."""
    max_concurrency: int | None = None
    """Open API requests beyond this number are answered 429."""
    page_slots: int | None = None
    """List requests served at once; the others wait, as on a server with that many workers."""
    session: Literal["issue", "old", "rejected", "expired"] = "issue"
    """Storage sessions: issued, 404 (old backend), 400 with a code, or issued already expired."""
    session_ttl: float = 900.0
    storage_location: str | None = None
    """Directory of the ``file_system`` storage; a temporary one, removed at the end, when not given."""
    more_projects: int = 0
    """Projects besides the two with data, under Korean, emoji and hostile names."""
    clock: float = 0.0
    """By how many seconds the server's clock is ahead: what its ``Date`` header says."""
    image_size: tuple[int, int] = (640, 480)
    copied: int = 0
    """Each so many-th record (0: none) has the picture of the record half as many before, of the same extension."""
    faults: tuple[Fault, ...] = ()
    port: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`~pipeline.errors.ConfigError` for pictures too small to draw on."""
        if min(self.image_size) < SMALLEST_PICTURE:
            raise ConfigError("image_size", f"each side must have {SMALLEST_PICTURE} pixels or more")
