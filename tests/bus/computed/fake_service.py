# SPDX-License-Identifier: Apache-2.0
"""A service of somebody else, played by the test: notes every call and answers as told.

behaviour[member] is what to do with the next calls of a method:
    (absent)      what the real one would do
    'hold'        nothing until release()
    'silent'      nothing, ever
    Error(n, t)   that error
    a function    of (message, arguments), which answers itself"""

import dbus
import dbus.lowlevel

from bus_client import connect, plain


class Error:
    def __init__(self, name, text):
        self.name, self.text = name, text


class FakeService:
    NAME = None

    def __init__(self, address):
        self.address = address
        self.behaviour = {}
        self.calls = []  # (member, arguments)
        self.held = []
        self.connection = None
        self.appear()

    def appear(self):
        self.connection = connect(self.address)
        self.connection.set_exit_on_disconnect(False)
        self.connection.add_message_filter(self.on_message)
        self.connection.request_name(self.NAME)

    def vanish(self):
        """Leaves the bus in the middle of whatever it does."""
        if self.connection:
            self.connection.close()
        self.connection = None
        self.held = []

    close = vanish

    def on_message(self, connection, message):
        if message.get_type() != dbus.lowlevel.MESSAGE_TYPE_METHOD_CALL:
            return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED
        member, arguments = str(message.get_member()), plain(message.get_args_list())
        self.calls.append((member, arguments))
        how = self.behaviour.get(member)
        if how == 'hold':
            self.held.append((member, message, arguments))
        elif isinstance(how, Error):
            self.error(message, how.name, how.text)
        elif callable(how):
            how(message, arguments)
        elif how is None:
            self.answer(member, message, arguments)
        else:
            assert how == 'silent', how
        return dbus.lowlevel.HANDLER_RESULT_HANDLED

    def answer(self, member, message, arguments):
        getattr(self, 'do_' + member)(message, *arguments)

    def release(self, *members):
        """Answers what is held, as if it had just come; what comes later is not held any more."""
        held, self.held = self.held, []
        for member in members or list(self.behaviour):
            self.behaviour.pop(member, None)
        for member, message, arguments in held:
            if members and member not in members:
                self.held.append((member, message, arguments))
            else:
                self.answer(member, message, arguments)

    def reply(self, message, signature='', *values):
        r = dbus.lowlevel.MethodReturnMessage(message)
        if signature:
            r.append(*values, signature=signature)
        if not message.get_no_reply() and self.connection:
            self.connection.send_message(r)

    def error(self, message, name, text):
        if not message.get_no_reply() and self.connection:
            self.connection.send_message(dbus.lowlevel.ErrorMessage(message, name, text))

    def signal(self, path, interface, member, signature, *values):
        if not self.connection:
            return
        s = dbus.lowlevel.SignalMessage(path, interface, member)
        s.append(*values, signature=signature)
        self.connection.send_message(s)

    def count(self, member):
        return sum(m == member for m, _ in self.calls)
