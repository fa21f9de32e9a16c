/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "compute/access.h"
#include "compute/manager.h"

static const struct {
        const char *interface;
        const sd_bus_vtable *(*vtable)(void);
} interfaces[] = {
        { "Manager", manager_bus_vtable },
        { "VM", vm_bus_vtable },
        { "User", user_bus_vtable },
        { "Job", job_bus_vtable },
};

#define FOREACH_ENTRY(v, table) for (const sd_bus_vtable *v = (table); v->type != _SD_BUS_VTABLE_END; v++)

static void every_method_on_the_bus_has_an_action(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(interfaces); i++)
                FOREACH_ENTRY(v, interfaces[i].vtable()) {
                        if (v->type != _SD_BUS_VTABLE_METHOD)
                                continue;
                        if (!access_find(interfaces[i].interface, v->x.method.member))
                                fail_msg("%s.%s has no polkit action", interfaces[i].interface, v->x.method.member);
                }
}

static void every_action_belongs_to_a_method_on_the_bus(void **state) {
        const MethodAccess *table;
        size_t n;

        table = access_table(&n);
        for (size_t k = 0; k < n; k++) {
                bool found = false;

                for (size_t i = 0; i < ELEMENTSOF(interfaces); i++)
                        if (streq(interfaces[i].interface, table[k].interface))
                                FOREACH_ENTRY(v, interfaces[i].vtable())
                                        found = found || (v->type == _SD_BUS_VTABLE_METHOD &&
                                                          streq(v->x.method.member, table[k].member));
                if (!found)
                        fail_msg("%s.%s is not on the bus", table[k].interface, table[k].member);
                assert_non_null(startswith(table[k].action, "org.hero.compute."));
        }
}

/* Without the flag sd-bus asks for CAP_SYS_ADMIN itself and polkit is never heard. */
static void every_method_lets_polkit_decide(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(interfaces); i++)
                FOREACH_ENTRY(v, interfaces[i].vtable())
                        if (v->type == _SD_BUS_VTABLE_METHOD)
                                assert_true(v->flags & SD_BUS_VTABLE_UNPRIVILEGED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_method_on_the_bus_has_an_action),
                cmocka_unit_test(every_action_belongs_to_a_method_on_the_bus),
                cmocka_unit_test(every_method_lets_polkit_decide),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
