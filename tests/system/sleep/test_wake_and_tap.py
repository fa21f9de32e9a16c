# SPDX-License-Identifier: Apache-2.0
"""A wake finds that the TAP of the VM's last run is not gone yet."""


def test_a_wake_waits_for_the_tap_of_the_last_run(host):
    host.mock('tine')
    tap = host.get('tine', 'TAPDevice')
    assert tap.startswith('tap-')
    host.heroctl('suspend', 'tine')
    host.heroctl('hibernate', 'tine')
    # Somebody else's is as much in the way, and as long as we want.
    host.run(['sh', '-c', f'for i in $(seq 100); do ip tuntap add dev {tap} mode tap && break; sleep 0.05; done; ip link show {tap}'])
    host.run(['sh', '-c', f'(sleep 1; ip tuntap del dev {tap} mode tap) >/dev/null 2>&1 &'])
    host.heroctl('resume', 'tine')
    host.heroctl('exec', 'tine', '--', 'true')
