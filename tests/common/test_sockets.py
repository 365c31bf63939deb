"""What the other side of a socket has acknowledged, and a connect beside the loop."""

import asyncio
import socket
import threading

import pytest

from busbar.net.sockets import in_thread, no_delay, taken, unsent


def test_what_nobody_reads_of_a_unix_socket_is_unsent():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert unsent(ours) == 0
        before = taken(ours)
        ours.send(b"x" * 1000)
        assert unsent(ours) >= 1000
        assert taken(ours) < before
        theirs.recv(1000)
        assert unsent(ours) == 0
        assert taken(ours) == before


def test_what_is_acknowledged_on_tcp_is_taken_and_no_delay_is_set():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with ours, theirs:
            no_delay(None, None, ours)
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            before = taken(ours)
            ours.sendall(b"x" * 1000)
            theirs.sendall(theirs.recv(1000, socket.MSG_WAITALL))
            ours.recv(1000, socket.MSG_WAITALL)  # it brings the acknowledgement
            assert taken(ours) == before + 1000
            assert unsent(ours) == 0


def test_no_delay_leaves_a_unix_socket_alone():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        no_delay(None, None, ours)


async def test_a_blocking_call_in_a_thread_does_not_hold_up_the_loop():
    released = threading.Event()
    call = asyncio.create_task(in_thread(lambda: assert_(released.wait(30))))
    await asyncio.sleep(0)
    assert not call.done()
    released.set()
    await call


def assert_(true: bool) -> None:
    if not true:
        raise OSError("the loop was held up")


async def test_an_error_in_the_thread_is_raised_to_the_caller():
    with pytest.raises(ConnectionRefusedError):
        await in_thread(refused)


def refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # it does not listen
        socket.create_connection(bound.getsockname())
