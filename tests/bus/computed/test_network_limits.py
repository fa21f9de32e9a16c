# SPDX-License-Identifier: Apache-2.0
"""What a VM may receive and send: kept, shown, changed. That the kernel keeps to it is tests/unit/network/test-{shaper,filter}.c."""

import json

import pytest
from bus_client import ERROR, BusError, spec

NONE = 2**64 - 1
MIB = 1 << 20


def limits(host, vm='alice'):
    return host.root.vm_get(vm, 'NetworkReceiveMax'), host.root.vm_get(vm, 'NetworkTransmitMax')


def record(host, vm='alice'):
    return json.loads((host.daemon.state / 'vms' / vm / 'vm.json').read_text())


def set_limits(host, **keys):
    host.root.vm('alice', 'SetResources', 'a{sv}', spec(**keys))


def test_a_vm_has_no_limits_unless_they_are_given(host):
    assert host.root.provision('alice') == ('done', '')
    assert limits(host) == (NONE, NONE)
    assert 'receive_max' not in record(host) and 'transmit_max' not in record(host)
    assert host.root.provision('alice', NetworkReceiveMax=NONE) == ('done', '')


def test_limits_are_kept_over_a_restart_and_can_be_lifted(host):
    assert host.root.provision('alice', NetworkReceiveMax=2 * MIB) == ('done', '')
    set_limits(host, NetworkTransmitMax=MIB)
    assert limits(host) == (2 * MIB, MIB)
    host.daemon.stop()
    host.daemon.start()
    assert limits(host) == (2 * MIB, MIB)
    set_limits(host, NetworkReceiveMax=NONE)
    assert limits(host) == (NONE, MIB)
    assert record(host)['receive_max'] == -1 and record(host)['transmit_max'] == MIB
    host.daemon.stop()
    host.daemon.start()
    assert limits(host) == (NONE, MIB)


def test_other_limits_are_another_spec(host):
    assert host.root.provision('alice', NetworkReceiveMax=2 * MIB) == ('done', '')
    assert host.root.provision('alice') == ('done', '')
    for key, value in (('NetworkReceiveMax', MIB), ('NetworkReceiveMax', NONE), ('NetworkTransmitMax', MIB)):
        with pytest.raises(BusError) as e:
            host.root.provision('alice', **{key: value})
        assert e.value.name == ERROR + 'UserHasVM' and key in e.value.text


def test_impossible_limits_are_refused(host):
    assert host.root.provision('alice') == ('done', '')
    for value in (0, 1023, 1 << 41):
        with pytest.raises(BusError) as e:
            set_limits(host, NetworkReceiveMax=value)
        assert e.value.name == ERROR + 'InvalidArgument' and 'NetworkReceiveMax' in e.value.text
    assert limits(host) == (NONE, NONE)


def in_kernel(host, vm='alice'):
    """The VM's limits as the kernel has them; None: it has none."""
    tap = host.root.vm_get(vm, 'TAPDevice')
    qdiscs = json.loads(host.daemon.in_network('tc', '-j', 'qdisc', 'show'))
    limited = json.loads(host.daemon.in_network('nft', '-j', 'list', 'set', 'inet', 'hero-compute', 'limited'))
    elements = {e['elem']['val']: e['elem']['limit'] for o in limited['nftables'] for e in o.get('set', {}).get('elem', [])}
    tbf = [q['options']['rate'] for q in qdiscs if q['dev'] == tap and q['kind'] == 'tbf']
    units = {'bytes': 1, 'kbytes': 1 << 10, 'mbytes': 1 << 20}
    limit = elements.get(tap)
    return tbf[0] if tbf else None, limit and limit['rate'] * units[limit['rate_unit']]


def test_the_kernel_is_told(cold):
    cold.daemon.use_network()
    host = cold.start()
    assert host.root.provision('alice', NetworkTransmitMax=MIB) == ('done', '')
    assert host.root.provision('bob') == ('done', '')
    assert in_kernel(host) == (None, MIB)
    assert in_kernel(host, 'bob') == (None, None)
    set_limits(host, NetworkReceiveMax=2 * MIB, NetworkTransmitMax=3 * MIB)
    assert in_kernel(host) == (2 * MIB, 3 * MIB)
    host.daemon.stop()
    host.daemon.start()
    assert in_kernel(host) == (2 * MIB, 3 * MIB)
    set_limits(host, NetworkTransmitMax=NONE)
    assert in_kernel(host) == (2 * MIB, None)
    assert host.root.do('alice', 'Suspend') == ('done', '')
    set_limits(host, NetworkTransmitMax=5 * MIB)
    assert in_kernel(host) == (2 * MIB, 5 * MIB)
    assert host.root.do('alice', 'Hibernate') == ('done', '')
    set_limits(host, NetworkReceiveMax=7 * MIB, NetworkTransmitMax=6 * MIB)
    assert in_kernel(host) == (None, 6 * MIB)
    assert host.root.do('alice', 'Resume') == ('done', '')
    assert in_kernel(host) == (7 * MIB, 6 * MIB)
    assert in_kernel(host, 'bob') == (None, None)
    assert host.root.do('alice', 'Delete', 't', 1) == ('done', '')
    assert 'tap-' not in host.daemon.in_network('nft', 'list', 'set', 'inet', 'hero-compute', 'limited')
