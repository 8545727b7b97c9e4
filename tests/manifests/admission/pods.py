"""What Serving accepts in a pod: its mask over Kubernetes' fields, and rules for what is left."""

import posixpath
from collections.abc import Iterator, Mapping, Set
from typing import Any

from manifests.admission import names

#: Flags that are off as Knative ships it, by the field of the pod that each lets in.
POD_FEATURES = {
    "affinity": "kubernetes.podspec-affinity",
    "topologySpreadConstraints": "kubernetes.podspec-topologyspreadconstraints",
    "hostAliases": "kubernetes.podspec-hostaliases",
    "nodeSelector": "kubernetes.podspec-nodeselector",
    "runtimeClassName": "kubernetes.podspec-runtimeclassname",
    "tolerations": "kubernetes.podspec-tolerations",
    "securityContext": "kubernetes.podspec-securitycontext",
    "priorityClassName": "kubernetes.podspec-priorityclassname",
    "schedulerName": "kubernetes.podspec-schedulername",
    "initContainers": "kubernetes.podspec-init-containers",
    "dnsPolicy": "kubernetes.podspec-dnspolicy",
    "dnsConfig": "kubernetes.podspec-dnsconfig",
    "shareProcessNamespace": "kubernetes.podspec-shareprocessnamespace",
    "hostIPC": "kubernetes.podspec-hostipc",
    "hostPID": "kubernetes.podspec-hostpid",
    "hostNetwork": "kubernetes.podspec-hostnetwork",
}
_POD = {
    "serviceAccountName",
    "containers",
    "volumes",
    "imagePullSecrets",
    "enableServiceLinks",
    "automountServiceAccountToken",
}
_CONTAINER = {
    "name",
    "args",
    "command",
    "env",
    "envFrom",
    "workingDir",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "ports",
    "resources",
    "securityContext",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
}
_SECURITY = {
    "capabilities",
    "readOnlyRootFilesystem",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "allowPrivilegeEscalation",
    "seccompProfile",
}
#: Kinds of volumes, by the flag that each needs; None: none.
_VOLUMES = {
    "secret": None,
    "configMap": None,
    "projected": None,
    "emptyDir": None,
    "persistentVolumeClaim": "kubernetes.podspec-persistent-volume-claim",
    "hostPath": "kubernetes.podspec-volumes-hostpath",
    "csi": "kubernetes.podspec-volumes-csi",
    "image": "kubernetes.podspec-volumes-image",
}
_CLAIM_WRITE = "kubernetes.podspec-persistent-volume-write"
_FIELD_REF = "kubernetes.podspec-fieldref"
_ADD_CAPABILITIES = "kubernetes.containerspec-addcapabilities"
_PROBE = {
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
}
_HANDLERS = {
    "httpGet": {"host", "path", "scheme", "httpHeaders", "port"},
    "tcpSocket": {"host", "port"},
    "exec": {"command"},
    "grpc": {"service", "port"},
}
_RESERVED_VARIABLES = {"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"}
_RESERVED_PORTS = {8012, 8013, 8112, 8022, 9090, 9091, 8008}
_RESERVED_PATHS = {"/", "/dev", "/dev/log"}
_MAX_ID = 2**31 - 1

Fields = Mapping[str, Any]


def pod(spec: Fields, features: Set[str], path: str) -> Iterator[str]:
    for field in spec.keys() - _POD:
        flag = POD_FEATURES.get(field)
        if flag is None:
            yield f"{path}.{field}: is never allowed"
        elif flag not in features:
            yield f"{path}.{field}: needs the feature {flag}"
    if spec.get("automountServiceAccountToken"):
        yield f"{path}.automountServiceAccountToken: may only be false"
    account = spec.get("serviceAccountName", "")
    if account and not names.is_subdomain(account):
        yield f"{path}.serviceAccountName: {account!r} is not a DNS name"
    containers = spec.get("containers") or []
    if len(containers) != 1:
        yield f"{path}.containers: must be one, not {len(containers)}"
    volumes = {volume.get("name"): volume for volume in spec.get("volumes") or ()}
    yield from _volumes(spec, features, path)
    for index, container in enumerate(containers):
        yield from _container(container, volumes, features, f"{path}.containers[{index}]")


# -- volumes ----------------------------------------------------------------------------------


def _volumes(spec: Fields, features: Set[str], path: str) -> Iterator[str]:
    mounted = {
        mount.get("name")
        for container in spec.get("containers") or ()
        for mount in container.get("volumeMounts") or ()
    }
    seen: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        here, name = f"{path}.volumes[{index}]", volume.get("name", "")
        if not names.is_label_1123(name):
            yield f"{here}.name: {name!r} is not a DNS label"
        if name in seen:
            yield f"{here}.name: {name!r} is there twice"
        seen.add(name)
        if name not in mounted:
            yield f"{here}.name: {name!r} is not mounted"
        yield from _volume(volume, features, here)


def _volume(volume: Fields, features: Set[str], path: str) -> Iterator[str]:
    kinds = volume.keys() - {"name"}
    if len(kinds) != 1:
        yield f"{path}: must be of exactly one kind, not {sorted(kinds)}"
        return
    (kind,) = kinds
    if kind not in _VOLUMES:
        yield f"{path}.{kind}: is never allowed"
        return
    flag, source = _VOLUMES[kind], volume[kind] or {}
    if flag is not None and flag not in features:
        yield f"{path}.{kind}: needs the feature {flag}"
    is_written = kind == "persistentVolumeClaim" and not source.get("readOnly")
    if is_written and _CLAIM_WRITE not in features:
        yield f"{path}.{kind}: to be written needs the feature {_CLAIM_WRITE}"
    if kind == "emptyDir":
        yield from _empty_dir(source, path)
    named = {"secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName"}
    if kind in named and not source.get(named[kind]):
        yield f"{path}.{kind}.{named[kind]}: is missing"
    for index, item in enumerate(source.get("items") or ()):
        for field in ("key", "path"):
            if not item.get(field):
                yield f"{path}.{kind}.items[{index}].{field}: is missing"
    for index, projection in enumerate(source.get("sources") or ()):
        known = {"secret", "configMap", "serviceAccountToken", "downwardAPI"}
        if len(projection) != 1 or not projection.keys() <= known:
            yield f"{path}.{kind}.sources[{index}]: must be exactly one of {sorted(known)}"


def _empty_dir(source: Fields, path: str) -> Iterator[str]:
    if source.get("medium", "") not in ("", "Memory"):
        yield f"{path}.emptyDir.medium: must be empty or Memory"
    limit = source.get("sizeLimit")
    if limit is not None and (not names.is_quantity(limit) or str(limit).startswith("-")):
        yield f"{path}.emptyDir.sizeLimit: {limit!r} is not a positive quantity"


# -- the container ----------------------------------------------------------------------------


def _container(
    container: Fields, volumes: Mapping[Any, Fields], features: Set[str], path: str
) -> Iterator[str]:
    for field in container.keys() - _CONTAINER:
        yield f"{path}.{field}: is never allowed"
    name = container.get("name", "")
    if name == "queue-proxy":
        yield f"{path}.name: {name!r} is reserved"
    elif name and not names.is_label_1123(name):
        yield f"{path}.name: {name!r} is not a DNS label"
    image = container.get("image", "")
    if not names.is_image(image):
        yield f"{path}.image: {image!r} is not a reference to an image"
    if container.get("terminationMessagePolicy", "File") not in ("File", "FallbackToLogsOnError"):
        yield f"{path}.terminationMessagePolicy: must be File or FallbackToLogsOnError"
    yield from _environment(container, features, path)
    yield from _ports(container.get("ports") or (), f"{path}.ports")
    yield from resources(container.get("resources") or {}, f"{path}.resources")
    yield from _security(container.get("securityContext") or {}, features, path)
    yield from _mounts(container.get("volumeMounts") or (), volumes, f"{path}.volumeMounts")
    port = ((container.get("ports") or [{}])[0]).get("name") or "http"
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        if kind in container:
            yield from _probe(container[kind], port, f"{path}.{kind}")
    if "readinessProbe" in container:
        yield from _aggressive(container["readinessProbe"], f"{path}.readinessProbe")


def _environment(container: Fields, features: Set[str], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        here, name = f"{path}.env[{index}]", variable.get("name", "")
        if not name:
            yield f"{here}.name: is missing"
        if name in _RESERVED_VARIABLES:
            yield f"{here}.name: {name!r} is reserved"
        if name in seen:
            yield f"{here}.name: {name!r} is there twice"
        seen.add(name)
        sources = variable.get("valueFrom") or {}
        if sources and "value" in variable:
            yield f"{here}: has both a value and a source"
        for field in sources:
            if field in ("fieldRef", "resourceFieldRef"):
                if _FIELD_REF not in features:
                    yield f"{here}.valueFrom.{field}: needs the feature {_FIELD_REF}"
            elif field not in ("configMapKeyRef", "secretKeyRef"):
                yield f"{here}.valueFrom.{field}: is never allowed"
    for index, source in enumerate(container.get("envFrom") or ()):
        if len(source.keys() & {"configMapRef", "secretRef"}) != 1:
            yield f"{path}.envFrom[{index}]: must be either configMapRef or secretRef"
        for field in source.keys() - {"prefix", "configMapRef", "secretRef"}:
            yield f"{path}.envFrom[{index}].{field}: is never allowed"


def _ports(ports: Any, path: str) -> Iterator[str]:
    if len(ports) > 1:
        yield f"{path}: must be one at most"
    for port in ports:
        number = port.get("containerPort", 0)
        if number in _RESERVED_PORTS:
            yield f"{path}.containerPort: {number} is queue-proxy's"
        if not 0 <= number <= 65535:
            yield f"{path}.containerPort: {number} is out of bounds"
        if port.get("protocol", "TCP") != "TCP":
            yield f"{path}.protocol: must be TCP"
        if port.get("name", "") not in ("", "http1", "h2c"):
            yield f"{path}.name: must be empty, http1 or h2c, not {port['name']!r}"
        for field in port.keys() - {"containerPort", "name", "protocol"}:
            yield f"{path}.{field}: is never allowed"


def resources(found: Fields, path: str) -> Iterator[str]:
    for field in found.keys() - {"limits", "requests"}:
        yield f"{path}.{field}: is never allowed"
    for kind in ("limits", "requests"):
        for name, value in (found.get(kind) or {}).items():
            if not names.is_quantity(value):
                yield f"{path}.{kind}.{name}: {value!r} is not a quantity"


def _security(context: Fields, features: Set[str], path: str) -> Iterator[str]:
    for field in context.keys() - _SECURITY:
        yield f"{path}.securityContext.{field}: is never allowed"
    for field in (context.get("capabilities") or {}).keys() - {"drop"}:
        if _ADD_CAPABILITIES not in features:
            yield f"{path}.securityContext.capabilities.{field}: needs {_ADD_CAPABILITIES}"
    for field in ("runAsUser", "runAsGroup"):
        if not 0 <= context.get(field, 0) <= _MAX_ID:
            yield f"{path}.securityContext.{field}: is out of bounds"


def _mounts(mounts: Any, volumes: Mapping[Any, Fields], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        here = f"{path}[{index}]"
        for field in mount.keys() - {"name", "readOnly", "mountPath", "subPath"}:
            yield f"{here}.{field}: is never allowed"
        volume = volumes.get(mount.get("name"))
        if volume is None:
            yield f"{here}.name: there is no volume {mount.get('name')!r}"
        where = mount.get("mountPath", "")
        clean = posixpath.normpath(where) if where else ""
        if not where:
            yield f"{here}.mountPath: is missing"
        elif clean in _RESERVED_PATHS:
            yield f"{here}.mountPath: {clean!r} is reserved"
        elif not clean.startswith("/"):
            yield f"{here}.mountPath: {where!r} is not absolute"
        elif clean in seen:
            yield f"{here}.mountPath: {clean!r} is there twice"
        seen.add(clean)
        yield from _read_only(mount, volume or {}, here)


def _read_only(mount: Fields, volume: Fields, path: str) -> Iterator[str]:
    if mount.get("readOnly"):
        return
    if "persistentVolumeClaim" in volume:
        if volume["persistentVolumeClaim"].get("readOnly"):
            yield f"{path}.readOnly: the volume is read-only"
    elif volume and "emptyDir" not in volume:
        yield f"{path}.readOnly: must be true for this kind of volume"


# -- probes -----------------------------------------------------------------------------------


def _probe(probe: Fields, port_name: str, path: str) -> Iterator[str]:
    for field in probe.keys() - _PROBE - _HANDLERS.keys():
        yield f"{path}.{field}: is never allowed"
    handlers = sorted(probe.keys() & _HANDLERS.keys())
    if len(handlers) > 1:
        yield f"{path}: must have one handler, not {handlers}"
    for handler in handlers:
        action = probe[handler] or {}
        for field in action.keys() - _HANDLERS[handler]:
            yield f"{path}.{handler}.{field}: is never allowed"
        port = action.get("port")
        if isinstance(port, str) and port != port_name:
            yield f"{path}.{handler}.port: must be the container's port"
    for field in _PROBE & probe.keys():
        if probe[field] < 0:
            yield f"{path}.{field}: is out of bounds"


def _aggressive(probe: Fields, path: str) -> Iterator[str]:
    """Without a period queue-proxy probes at its own interval; other numbers make no sense."""
    if probe.get("successThreshold", 1) < 1:
        yield f"{path}.successThreshold: must be at least 1"
    numbers = {field: probe.get(field, 0) for field in ("failureThreshold", "timeoutSeconds")}
    if not probe.get("periodSeconds", 0):
        for field in (field for field, value in numbers.items() if value):
            yield f"{path}.{field}: is not allowed without periodSeconds"
    else:
        for field in (field for field in numbers if probe.get(field, 1) < 1):
            yield f"{path}.{field}: must be at least 1"
