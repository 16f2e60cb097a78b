"""Where the host and the token come from: the places that the Synapse SDK looks at, and in its order."""

import json
import os
import stat

import msgspec
from synapse_sdk.utils.auth import (
    CONFIG_FILE,
    DEFAULT_HOST,
    ENV_SYNAPSE_ACCESS_TOKEN,
    ENV_SYNAPSE_HOST,
    ENV_SYNAPSE_PLUGIN_RUN_TENANT,
    ENV_SYNAPSE_PLUGIN_RUN_USER_TOKEN,
    load_credentials,
)


class CredentialPlaces(msgspec.Struct, frozen=True):
    """Names of places, never what is there. ``token`` is ``""`` where there is none.

    ``problem`` is what is wrong with the file of ``synapse login``; ``tenant`` is the code that goes with the token,
    where one is named.
    """

    host: str
    token: str
    file: str
    problem: str = ""
    is_open_to_others: bool = False
    tenant: str = ""


def find_credentials() -> CredentialPlaces:
    """Where a run finds host and token now."""
    file, problem, told = str(CONFIG_FILE), "", {}
    try:
        read = json.loads(CONFIG_FILE.read_text())
    except FileNotFoundError:
        pass  # nobody has logged in, which is no problem where variables are set
    except (OSError, ValueError) as error:  # the SDK takes it for no file at all
        problem = f"cannot be read ({type(error).__name__})"
    else:
        told = read if isinstance(read, dict) else {}
        problem = "" if told else "is not what 'synapse login' writes"
    found = load_credentials() if not problem else None
    token = next((name for name in _TOKENS if os.environ.get(name)), "")
    return CredentialPlaces(
        host=ENV_SYNAPSE_HOST if os.environ.get(ENV_SYNAPSE_HOST) else file if told.get("host") else DEFAULT_HOST,
        token=token or (file if told.get("access_token") else ""),
        file=file,
        problem=problem,
        is_open_to_others=bool(told) and bool(stat.S_IMODE(CONFIG_FILE.stat().st_mode) & 0o077),
        tenant=os.environ.get(ENV_SYNAPSE_PLUGIN_RUN_TENANT) or str((found and not token and found.tenant) or ""),
    )


_TOKENS = (ENV_SYNAPSE_PLUGIN_RUN_USER_TOKEN, ENV_SYNAPSE_ACCESS_TOKEN)


def host_in_use() -> str:
    """The address of the API that a run would use now."""
    try:
        return str(load_credentials().host or DEFAULT_HOST)
    except (AttributeError, TypeError):  # the file is not what 'synapse login' writes
        return str(DEFAULT_HOST)


def use_token(host: str, token: str) -> None:
    """Have this process, and those that it starts, use a host and a token that nobody saves."""
    os.environ.pop(ENV_SYNAPSE_PLUGIN_RUN_USER_TOKEN, None)  # it would be preferred
    os.environ |= {ENV_SYNAPSE_HOST: host, ENV_SYNAPSE_ACCESS_TOKEN: token}
