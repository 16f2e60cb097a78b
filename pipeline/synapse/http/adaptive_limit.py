"""How many requests may be in flight at a server, given how it answers."""


class AdaptiveLimit:
    """A limit that follows the server: additive increase, multiplicative decrease, as RFC 5681 does it to packets.

    The limit is never above ``most``. Trouble halves what was in flight, once for all the requests that were on their
    way then; each round of good answers adds one. The limit decides when requests are sent, never what is exported.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = float(most)
        self._peak = 0
        self.halvings = 0
        """How often the limit was halved: a request reports the number at which it was sent."""

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self._allowed))

    def record_in_flight(self, number: int) -> None:
        """Note that so many requests are in flight."""
        self._peak = max(self._peak, number)

    def report_success(self, halvings: int) -> None:
        """A request that was sent after so many halvings was answered."""
        # An answer from before the last halving says nothing about its effect.
        if halvings == self.halvings and self._allowed < self._most:
            self._allowed = min(float(self._most), self._allowed + 1 / self._allowed)

    def report_trouble(self, halvings: int, in_flight: int) -> None:
        """A request that was sent after so many halvings was refused for load, lost or not answered in time."""
        if halvings == self.halvings:
            self._allowed = max(1.0, min(self._allowed, self._peak) / 2)
            self._peak = in_flight
            self.halvings += 1
