# SPDX-License-Identifier: Apache-2.0
"""What happens to guests when the host goes."""


def test_a_poweroff_shuts_the_guests_down_before_the_daemon_goes(host, guests):
    guests.start('awake')
    guests.start('asleep')
    host.run('heroctl suspend asleep')
    host.run('systemctl restart hero-computed') # what PID 1 knew of it may not be needed
    guests.start('late')
    host.poweroff()
    host.boot()
    for name in ('awake', 'asleep', 'late'):
        assert guests.state(name) == ('stopped', 'Stopped through systemd or by a signal.')
    journal = host.run('journalctl --boot -1 -o cat _COMM=systemd + _COMM=hero-computed').stdout
    assert 'timed out' not in journal, journal
    lines = journal.splitlines()
    down = max(i for i, line in enumerate(lines) if line.startswith('Stopped hero-computed.service'))
    for name in ('awake', 'asleep', 'late'):
        assert f"Killing VM '{name}'." not in lines, journal
        assert f"VM '{name}': stopping → stopped: Stopped through systemd or by a signal." in lines[:down], journal
    host.run('heroctl start asleep')
    assert guests.state('asleep')[0] == 'running'
