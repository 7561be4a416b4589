"""A stdio child that a test plays (`child.rs`): what it reads goes to the test's socket after its
process id, what comes from there is what it writes. It ends when the test closes the socket."""

import os
import socket
import sys
import threading

test = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
test.sendall(b"%d\n" % os.getpid())


def write_what_the_test_says():
    while data := test.recv(65536):
        while data:
            data = data[os.write(1, data) :]
    os._exit(0)


threading.Thread(target=write_what_the_test_says).start()
while data := os.read(0, 65536):
    test.sendall(data)
test.shutdown(socket.SHUT_WR)
