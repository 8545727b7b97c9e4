"""The kinds of objects of a deployment that have a status."""

#: (apiVersion, kind, how kubectl calls it): ``service`` alone would be Kubernetes' own.
WITH_STATUS = (
    ("serving.knative.dev/v1", "Service", "ksvc"),
    ("serving.knative.dev/v1beta1", "DomainMapping", "domainmapping"),
    ("eventing.knative.dev/v1", "Broker", "broker"),
    ("eventing.knative.dev/v1", "Trigger", "trigger"),
    ("eventing.knative.dev/v1alpha1", "EventPolicy", "eventpolicy"),
    ("sources.knative.dev/v1", "PingSource", "pingsource"),
    ("sources.knative.dev/v1", "SinkBinding", "sinkbinding"),
    ("batch/v1", "Job", "job"),
    ("apps/v1", "StatefulSet", "statefulset"),
)
