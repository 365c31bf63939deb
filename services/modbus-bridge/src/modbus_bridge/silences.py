"""Silences of blocks: whether a unit is silent, or an address that it does not have."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from busbar.bridge import DeviceRefused, DeviceTimeout, ProtocolError
from busbar.codecs.modbus import NO_PATH, NO_TARGET, Read
from modbus_bridge.polling import Block
from modbus_bridge.unit import ModbusUnit


class Silences:
    """What is known of the silences of a line, block by block."""

    def __init__(self, units: Mapping[str, ModbusUnit]) -> None:
        self._units = units
        self._lost: Counter[Block] = Counter()  # in a row
        self._suspects: set[Block] = set()  # parts of a block that was silent
        # blocks that are asked rarely -> what they were
        self._rare: dict[Block, Block] = {}
        self._good: dict[str, Block] = {}  # that has been answered last

    def note_answer(self, device: str, block: Block) -> Block | None:
        """Take note that a block is answered; return what it was before it was rare."""
        self._good[device] = block
        if self._lost:
            self._lost.pop(block, None)
            self._suspects.discard(block)
        return self._rare.pop(block, None) if self._rare else None

    def note_silence(self, block: Block, patience: int) -> bool:
        """Count a silence; return whether it is time to ask who is silent."""
        self._lost[block] += 1
        return block in self._suspects or self._lost[block] >= patience

    async def is_answering(self, device: str, block: Block) -> bool:
        """Ask a unit for what it has answered, else for the ends of a block."""
        good = self._good.get(device)
        if good is None or good is block:
            ends = {block.items[0], block.items[-1]} if len(block.items) > 1 else ()
            asked = [Block((each,)).request for each in ends]
        else:
            asked = [Block((good.first,)).request]
        for request in asked:
            if await self._is_answered(device, request):
                return True
        return False

    def suspect(self, pieces: list[Block]) -> list[Block]:
        """Return parts of a silent block, which are followed at their first silence."""
        self._suspects |= set(pieces)
        return pieces

    def blame(self, block: Block, probe: float) -> Block:
        """Return a silent value as a block that is asked rarely, each `probe` s."""
        if block in self._rare:
            return block
        item = replace(block.first, every=max(block.every, probe))
        rare = Block((item,))
        self._rare[rare] = block
        self._suspects.discard(block)
        self._suspects.add(rare)
        return rare

    async def _is_answered(self, device: str, request: Read) -> bool:
        try:
            await self._units[device].ask(request)
        except DeviceRefused as error:
            return error.detail["code"] not in (NO_PATH, NO_TARGET)
        except (DeviceTimeout, ProtocolError):
            return False
        return True
