"""Bounds for the requests of the Synapse SDK: its own timeouts bound each read, not an answer without end."""

import io
import time
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ReadTimeout
from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError

from pipeline.synapse.http.tries import RequestLimits

_CHUNK = 2**16


class BoundedAdapter(HTTPAdapter):
    """Sends a request once, and reads at most ``largest_body`` bytes of the answer, in at most ``attempt`` seconds."""

    def __init__(self, limits: RequestLimits) -> None:
        super().__init__(max_retries=0)
        self._limits = limits

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send a request and return the whole answer. Raises what the SDK takes for a server that does not answer."""
        end = time.monotonic() + self._limits.attempt
        response = super().send(request, *args, **{**options, "stream": True})
        try:
            body = self._read(response, end)
        except DecodeError as error:
            raise ContentDecodingError(error) from error
        except ReadTimeoutError as error:
            raise ReadTimeout(error) from error
        except HTTPError as error:
            raise ChunkedEncodingError(error) from error
        finally:
            response.close()
        response.raw = io.BytesIO(body)
        return response

    def _read(self, response: Response, end: float) -> bytearray:
        body = bytearray()
        for part in response.raw.stream(_CHUNK, decode_content=True):
            body += part
            if len(body) > self._limits.largest_body or time.monotonic() > end:
                raise ReadTimeout("an answer without end")
        return body
