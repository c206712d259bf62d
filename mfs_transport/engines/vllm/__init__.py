# SPDX-License-Identifier: Apache-2.0
"""vLLM: the deadline of a request reaches the wire, with no change in the engine.

plugin      what vLLM calls in each of its processes
interface   all that is known of vLLM's connectors: they are wrapped here
connector   what is done around them, in plain values
slo         what a router's headers say  frontend    how that gets into vLLM's requests
deadline    when a request is due        estimate    what it will take
batch       what a step computes         planning    what the queues imply for each request
router      which host a request's bytes go to, by what its ports can still be given
layerwise   each layer's KV pushed when it is computed (NixlPushConnector); blocks: of which
"""
