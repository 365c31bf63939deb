"""What a session would have told the bus."""

from busbar.contract.describe import Description


class Outlet:
    """One device's way to nowhere.

    `told` is every value so far, in order, `known` the newest of each path.
    """

    def __init__(self):
        self.told, self.faults, self.events = [], {}, []
        self.description = Description("cip")

    @property
    def known(self):
        return {path: value for values in self.told for path, value in values.items()}

    def values(self, values, time=None):
        self.told.append(dict(values))

    def event(self, name, fields, time=None):
        self.events.append((name, dict(fields)))

    def bad(self, paths, error):
        self.faults.update(dict.fromkeys(paths, error.message))

    def describe(self, description):
        self.description = description


class Port:
    """One link's way to nowhere."""

    def __init__(self):
        self.outlets, self.waits = {}, False

    def outlet(self, device):
        return self.outlets.setdefault(device, Outlet())

    def connecting(self):
        self.waits = True
