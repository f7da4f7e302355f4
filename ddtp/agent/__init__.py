"""The embedding API: `open_agent` for programs on trio, `BlockingAgent` for all others.

    async with open_agent(home) as agent:
        card = await agent.remember_card(text)
        prepared = await agent.prepare(path, card=card)
        show(prepared.screen)
        sent = await agent.send(prepared)

The names are loaded when they are first used, so that checking a bundle does not load the network.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddtp.agent.blocking import BlockingAgent
    from ddtp.agent.delivering import SentTransfer
    from ddtp.agent.exporting import ExportedTransfer
    from ddtp.agent.facade import Agent, open_agent
    from ddtp.agent.inbox import ReceivedData
    from ddtp.agent.issuing import Draft, IssuedPackage
    from ddtp.agent.sending import PreparedTransfer
    from ddtp.store.records import Direction, PackageRow, TransferRow, TransferState
    from ddtp.transfer.pacing import Pace
    from ddtp.transfer.ports import Phase, Progress

__all__ = [
    "Agent",
    "BlockingAgent",
    "Direction",
    "Draft",
    "ExportedTransfer",
    "IssuedPackage",
    "Pace",
    "PackageRow",
    "Phase",
    "PreparedTransfer",
    "Progress",
    "ReceivedData",
    "SentTransfer",
    "TransferRow",
    "TransferState",
    "open_agent",
]

_HOMES = {
    "Agent": "ddtp.agent.facade",
    "BlockingAgent": "ddtp.agent.blocking",
    "Direction": "ddtp.store.records",
    "Draft": "ddtp.agent.issuing",
    "ExportedTransfer": "ddtp.agent.exporting",
    "IssuedPackage": "ddtp.agent.issuing",
    "Pace": "ddtp.transfer.pacing",
    "PackageRow": "ddtp.store.records",
    "Phase": "ddtp.transfer.ports",
    "PreparedTransfer": "ddtp.agent.sending",
    "Progress": "ddtp.transfer.ports",
    "ReceivedData": "ddtp.agent.inbox",
    "SentTransfer": "ddtp.agent.sending",
    "TransferRow": "ddtp.store.records",
    "TransferState": "ddtp.store.records",
    "open_agent": "ddtp.agent.facade",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
