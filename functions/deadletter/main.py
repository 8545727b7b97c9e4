"""Dead letter sink: stores events that no subscriber accepted, until an operator handles them.

The broker's dead letter sink. ``batch-gateway dead`` lists them and sends them again.
"""

import functions_framework.aio

from batch_gateway.wiring.deadletter import deadletter_function

deadletter = functions_framework.aio.http(deadletter_function())
