{{- define "medseg.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "medseg.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: triton
{{- end }}

{{- define "medseg.labels" -}}
{{ include "medseg.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "medseg.front" -}}
{{ (.Files.Glob "files/front.conf.template").AsConfig }}
{{- end }}

{{/* Both containers may only run: no privileges, no capabilities, a read-only root. */}}
{{- define "medseg.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A pod that is being stopped still gets requests until every node knows that it stops. */}}
{{- define "medseg.lifecycle" -}}
preStop: {exec: {command: [sleep, "5"]}}
{{- end }}
