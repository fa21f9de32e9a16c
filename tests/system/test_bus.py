# SPDX-License-Identifier: Apache-2.0
"""The system bus, with us on it: what we do must not keep others from it."""

import time

import pytest

MACHINED = 'org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager'
BUS = 'org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus'


@pytest.fixture
def newcomer(host):
    """A user of whom the bus has never heard."""
    host.run('useradd newcomer')
    yield 'newcomer'
    host.run('userdel newcomer')


def test_a_user_who_connects_while_machined_asks_who_called_it_holds_nobody_up(host, newcomer):
    """The call of machined is one that fails, but not before machined has asked the bus who called. It and the newcomer,
    about whom the bus may ask machined, are both there when machined, which was held still, goes on."""
    host.run('systemctl start systemd-machined')
    begin = time.monotonic()
    result = host.run(f'''
        pid=$(systemctl show -P MainPID systemd-machined)
        kill -STOP $pid
        busctl --timeout=60 call {MACHINED} RegisterMachine sayssus x 0 test vm 999999 / &
        sleep 1
        setpriv --reuid {newcomer} --regid {newcomer} --clear-groups busctl --timeout=60 call {BUS} GetId &
        sleep 1
        kill -CONT $pid
        wait''')
    assert 'No such process' in result.err and result.out.startswith('s "'), result
    assert time.monotonic() - begin < 12


def test_doctor_finds_our_setting_in_the_running_bus(host):
    out = host.heroctl('doctor', '--json', check=False).out
    assert '"bus"' in out and 'dbus-daemon leaves systemd-machined out' in out
