# SPDX-License-Identifier: Apache-2.0
"""The whole life of a VM, when nothing goes wrong."""

from bus_client import MANAGER, ROOT, vm_path


def test_a_vm_is_created_started_suspended_resumed_stopped_and_deleted(host):
    root = host.root
    assert root.create('web') == ('done', '')
    assert root.state('web') == 'configured'
    assert root.do('web', 'Start') == ('done', '')
    assert root.state('web') == 'running'
    assert root.vm_get('web', 'AgentReady') is True
    unit = host.systemd.units['hero-vm-web.scope']
    assert unit.pids() == [host.pid()]
    assert root.do('web', 'Suspend') == ('done', '')
    assert unit.is_frozen()
    assert root.do('web', 'Resume') == ('done', '')
    assert not unit.is_frozen()
    assert root.do('web', 'Stop', 't', 0) == ('done', '')
    assert root.state('web') == 'stopped'
    assert root.do('web', 'Delete', 't', 0) == ('done', '')
    assert root.names() == []
    host.nothing_left('web')
    assert root.reserved() == (0, 0, 0)
