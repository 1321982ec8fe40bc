{{/* What several templates say. Names are fixed: see operator/tollway_operator/names.py. */}}

{{/* Which pods a part has. Takes its name. Cannot change: selectors are immutable. */}}
{{- define "tollway.selector" -}}
app.kubernetes.io/name: tollway
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* Takes (list ROOT COMPONENT). */}}
{{- define "tollway.labels" -}}
{{- $root := index . 0 -}}
{{ include "tollway.selector" (index . 1) }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes (list ROOT IMAGE): by digest, else by tag. */}}
{{- define "tollway.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- with $root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $root.Values.images.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* How a pod is placed, and what all of its containers may. Takes (list ROOT COMPONENT VALUES-OF-IT). */}}
{{- define "tollway.pod" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
serviceAccountName: tollway-{{ $component }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toYaml . | nindent 0 }}
{{- end }}
affinity:
{{- if $values.affinity }} {{ toYaml $values.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{ include "tollway.selector" $component | nindent 12 }}
{{- end }}
{{- end }}

{{/* What the `restricted` Pod Security Standard asks of a container, and more. */}}
{{- define "tollway.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Metadata of a pod. Takes (list ROOT COMPONENT VALUES-OF-IT). */}}
{{- define "tollway.podMetadata" -}}
labels: {{ include "tollway.labels" (list (index . 0) (index . 1)) | nindent 2 }}
{{- with (index . 2).podLabels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).podAnnotations }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The API server's token, for the containers that mount it, and for no other one of the pod. */}}
{{- define "tollway.token" -}}
name: token
projected:
  defaultMode: 0440
  sources:
  - serviceAccountToken: {path: token, expirationSeconds: 3600}
  - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
  - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
{{- define "tollway.tokenMount" -}}
{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{/* What whoever installs decided, as operator and injector are told. */}}
{{- define "tollway.decided" -}}
- {name: TOLLWAY_ROOT_NAMESPACE, value: {{ .Release.Namespace }}}
- {name: TOLLWAY_TRUST_DOMAIN, value: {{ .Values.trustDomain | quote }}}
- {name: TOLLWAY_SECRET_NAMESPACES, value: {{ join "," .Values.secretNamespaces | quote }}}
- {name: TOLLWAY_UNSELECTED, value: {{ .Values.unselected }}}
{{- end }}

{{/* Probes on the one port that answers them. */}}
{{- define "tollway.probes" -}}
readinessProbe: {httpGet: {path: /readyz, port: health}, periodSeconds: 5, timeoutSeconds: 3}
livenessProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
{{- end }}

{{/* A plain document of this chart, with the namespace of the release as the root namespace. Takes (list ROOT PATH). */}}
{{- define "tollway.document" -}}
{{- $root := index . 0 -}}
{{ $root.Files.Get (index . 1) | replace "tollway-system" $root.Release.Namespace }}
{{- end }}
