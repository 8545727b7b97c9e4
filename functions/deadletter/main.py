"""Dead letter: keeps events that no subscriber has taken, until somebody looks after them.

The broker's dead letter sink. ``batch-gateway dead`` lists them and sends them again.
"""

import functions_framework.aio

from batch_gateway.wiring.deadletter import deadletter_function

deadletter = functions_framework.aio.http(deadletter_function())
