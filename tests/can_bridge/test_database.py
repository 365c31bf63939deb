"""Databases of each format: one message, the same in all of them."""

import struct

import pytest

from busbar.codecs import can
from tests.can_bridge.peer import done, on_loopback

DBC = """VERSION ""
BU_: A
BO_ 801 Motor: 8 A
 SG_ Speed : 0|16@1+ (0.5,-100) [-100|8000] "rpm" A
 SG_ Gear : 16|8@1+ (1,0) [0|0] "" A
VAL_ 801 Gear 0 "neutral" 1 "first" ;
"""
KCD = """<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0">
  <Document name="test"/>
  <Bus name="bus">
    <Message id="0x321" length="8" name="Motor">
      <Signal name="Speed" offset="0" length="16">
        <Value slope="0.5" intercept="-100" unit="rpm" min="-100" max="8000"/>
      </Signal>
      <Signal name="Gear" offset="16" length="8">
        <LabelSet>
          <Label name="neutral" value="0"/><Label name="first" value="1"/>
        </LabelSet>
      </Signal>
    </Message>
  </Bus>
</NetworkDefinition>
"""
SYM = """FormatVersion=6.0 // Do not edit this line!
Title="test"

{ENUMS}
Enum=Gears(0="neutral", 1="first")

{SIGNALS}
Sig=Speed unsigned 16 /u:rpm /f:0.5 /o:-100 /min:-100 /max:8000
Sig=Gear unsigned 8 /e:Gears

{SEND}

[Motor]
ID=321h
Len=8
Sig=Speed 0
Sig=Gear 16
"""


def signal(name, start, length, compu):
    mapped = f"<I-SIGNAL-TO-I-PDU-MAPPING><SHORT-NAME>{name}M</SHORT-NAME>"
    mapped += f'<I-SIGNAL-REF DEST="I-SIGNAL">/p/{name}</I-SIGNAL-REF>'
    mapped += "<PACKING-BYTE-ORDER>MOST-SIGNIFICANT-BYTE-LAST</PACKING-BYTE-ORDER>"
    mapped += f"<START-POSITION>{start}</START-POSITION>"
    mapped += "</I-SIGNAL-TO-I-PDU-MAPPING>"
    own = f"""<I-SIGNAL><SHORT-NAME>{name}</SHORT-NAME><LENGTH>{length}</LENGTH>
      <SYSTEM-SIGNAL-REF DEST="SYSTEM-SIGNAL">/p/{name}S</SYSTEM-SIGNAL-REF></I-SIGNAL>
    <SYSTEM-SIGNAL><SHORT-NAME>{name}S</SHORT-NAME>
      <PHYSICAL-PROPS><SW-DATA-DEF-PROPS-VARIANTS><SW-DATA-DEF-PROPS-CONDITIONAL>
      <COMPU-METHOD-REF DEST="COMPU-METHOD">/p/{name}C</COMPU-METHOD-REF>
      </SW-DATA-DEF-PROPS-CONDITIONAL></SW-DATA-DEF-PROPS-VARIANTS></PHYSICAL-PROPS>
    </SYSTEM-SIGNAL>
    <COMPU-METHOD><SHORT-NAME>{name}C</SHORT-NAME>{compu}</COMPU-METHOD>"""
    return mapped, own


def scale(limits, inner):
    low, high = limits
    bounds = f'<LOWER-LIMIT INTERVAL-TYPE="CLOSED">{low}</LOWER-LIMIT>'
    bounds += f'<UPPER-LIMIT INTERVAL-TYPE="CLOSED">{high}</UPPER-LIMIT>'
    return f"<COMPU-SCALE>{bounds}{inner}</COMPU-SCALE>"


LINEAR = (
    "<COMPU-RATIONAL-COEFFS><COMPU-NUMERATOR><V>-100</V><V>0.5</V></COMPU-NUMERATOR>"
)
LINEAR += "<COMPU-DENOMINATOR><V>1</V></COMPU-DENOMINATOR></COMPU-RATIONAL-COEFFS>"
NAMED = "<COMPU-CONST><VT>{}</VT></COMPU-CONST>"
INTERNAL = (
    "<COMPU-INTERNAL-TO-PHYS><COMPU-SCALES>{}</COMPU-SCALES></COMPU-INTERNAL-TO-PHYS>"
)
SPEED = "<CATEGORY>LINEAR</CATEGORY>" + '<UNIT-REF DEST="UNIT">/p/rpm</UNIT-REF>'
SPEED += INTERNAL.format(scale((0, 16200), LINEAR))
GEAR = "<CATEGORY>TEXTTABLE</CATEGORY>"
GEAR += INTERNAL.format(
    scale((0, 0), NAMED.format("neutral")) + scale((1, 1), NAMED.format("first"))
)
(SPEED_MAPPED, SPEED_OWN), (GEAR_MAPPED, GEAR_OWN) = (
    signal("Speed", 0, 16, SPEED),
    signal("Gear", 16, 8, GEAR),
)
ARXML = f"""<?xml version="1.0" encoding="UTF-8"?>
<AUTOSAR xmlns="http://autosar.org/schema/r4.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://autosar.org/schema/r4.0 AUTOSAR_4-2-1.xsd">
<AR-PACKAGES><AR-PACKAGE><SHORT-NAME>p</SHORT-NAME><ELEMENTS>
  <CAN-CLUSTER><SHORT-NAME>bus</SHORT-NAME><CAN-CLUSTER-VARIANTS><CAN-CLUSTER-CONDITIONAL><PHYSICAL-CHANNELS>
    <CAN-PHYSICAL-CHANNEL><SHORT-NAME>channel</SHORT-NAME><FRAME-TRIGGERINGS><CAN-FRAME-TRIGGERING>
      <SHORT-NAME>trigger</SHORT-NAME><FRAME-REF DEST="CAN-FRAME">/p/Motor</FRAME-REF>
      <CAN-ADDRESSING-MODE>STANDARD</CAN-ADDRESSING-MODE><IDENTIFIER>801</IDENTIFIER>
    </CAN-FRAME-TRIGGERING></FRAME-TRIGGERINGS></CAN-PHYSICAL-CHANNEL>
  </PHYSICAL-CHANNELS></CAN-CLUSTER-CONDITIONAL></CAN-CLUSTER-VARIANTS></CAN-CLUSTER>
  <CAN-FRAME><SHORT-NAME>Motor</SHORT-NAME><FRAME-LENGTH>8</FRAME-LENGTH>
    <PDU-TO-FRAME-MAPPINGS><PDU-TO-FRAME-MAPPING>
    <SHORT-NAME>mapping</SHORT-NAME><PDU-REF DEST="I-SIGNAL-I-PDU">/p/pdu</PDU-REF>
    <START-POSITION>0</START-POSITION>
  </PDU-TO-FRAME-MAPPING></PDU-TO-FRAME-MAPPINGS></CAN-FRAME>
  <I-SIGNAL-I-PDU><SHORT-NAME>pdu</SHORT-NAME><LENGTH>8</LENGTH>
    <I-SIGNAL-TO-PDU-MAPPINGS>{SPEED_MAPPED}{GEAR_MAPPED}</I-SIGNAL-TO-PDU-MAPPINGS></I-SIGNAL-I-PDU>
  {SPEED_OWN}{GEAR_OWN}
  <UNIT><SHORT-NAME>rpm</SHORT-NAME><DISPLAY-NAME>rpm</DISPLAY-NAME></UNIT>
</ELEMENTS></AR-PACKAGE></AR-PACKAGES></AUTOSAR>
"""


@pytest.mark.parametrize(
    ("suffix", "text"), {"dbc": DBC, "kcd": KCD, "sym": SYM, "arxml": ARXML}.items()
)
async def test_a_database_of_each_format_both_ways(suffix, text, tmp_path):
    file = tmp_path / f"motor.{suffix}"
    file.write_text(text)
    async with on_loopback(
        f"    database: {file}\n    receive_own: false\n    signals: "
        f"{{min_interval: 0}}\n"
    ) as (
        bus,
        peer,
    ):
        await peer.send(can.frame(0x321, struct.pack("<HB5x", 5200, 1)))
        assert await bus.value("can0", "Motor/Speed") == 2500
        assert await bus.value("can0", "Motor/Gear") == "first"
        about = (await bus.info("can0", bool))["properties"]["Motor/Speed"]
        assert (
            about["unit"],
            about["schema"]["minimum"],
            about["schema"]["maximum"],
        ) == ("rpm", -100, 8000)
        done(await bus.set("can0", "Motor/Speed", 0))
        assert (await peer.receive())[0].data == struct.pack("<HB5x", 200, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("suffix", ["dbc", "sym"])
async def test_letters_beyond_ascii_in_either_encoding(suffix, encoding, tmp_path):
    text = (
        {"dbc": DBC, "sym": SYM}[suffix]
        .replace("rpm", "°/s")
        .replace("first", "größte")
    )
    (tmp_path / f"motor.{suffix}").write_bytes(text.encode(encoding))
    async with on_loopback(
        f"    database: {tmp_path / 'motor'}.{suffix}\n    signals: "
        f"{{min_interval: 0}}\n"
    ) as (
        bus,
        peer,
    ):
        await peer.send(can.frame(0x321, struct.pack("<HB5x", 5200, 1)))
        assert await bus.value("can0", "Motor/Gear") == "größte"
        assert (await bus.info("can0", bool))["properties"]["Motor/Speed"][
            "unit"
        ] == "°/s"
