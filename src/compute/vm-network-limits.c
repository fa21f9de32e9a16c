/* SPDX-License-Identifier: Apache-2.0 */

/* How fast a VM may receive and send. */

#include "compute/vm.h"
#include "network/shaper.h"

int vm_network_set_limits(Vm *vm) {
        _cleanup_(netlink_closep) Netlink *nl = NULL;
        int r;

        r = netlink_open(&nl);
        if (r < 0)
                return r;
        return shaper_set(nl, vm->tap_ifindex, vm_spec_receive_max(&vm->spec), vm_spec_transmit_max(&vm->spec));
}
