"""A town on another machine: runs until it is killed, with everybody on one number, and a package for a person.

Arguments: the number to listen on, a folder, and the size of the package's file in bytes. Prints one JSON line.
"""

import json
import sys
from pathlib import Path

import trio

from ddtp.agent.facade import wall_clock
from tests.e2e.stories import large_file
from tests.town import open_town


async def main(number: str, folder: Path, size_bytes: int) -> None:
    listen = (f"/ip4/{number}/tcp/0",)
    async with open_town(folder, clock=wall_clock, listen=listen) as town:
        await town.close("receiver")
        receiver = await town.open_receiver(listen=listen)
        person = await town.person()
        package = await town.issue(person, files=large_file(size_bytes))
        await town.close("person")
        places = {"home": folder / "person", "package": package.path, "card": receiver.config.home / "card.ddtp-card"}
        line = json.dumps({name: str(place) for name, place in places.items()} | {"inbox": str(receiver.inbox)})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
