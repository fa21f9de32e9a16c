/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Asks for passwords on this terminal while heroctl runs, as systemctl does. Starts pkttyagent unless the caller
 * is root (who is never asked), there is no terminal or it is not installed. 1: started, 0: not needed. It ends
 * with heroctl. */
int polkit_agent_open(void);
void polkit_agent_close(void);
