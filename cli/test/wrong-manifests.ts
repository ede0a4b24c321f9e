// Wrong manifests and exactly what is said of each. The API server is to say the same of those that the schema refuses.
export interface WrongManifest {
  name: string
  /** Replaces text of the right manifest: [what, with]. */
  change: readonly (readonly [string, string])[]
  /** `line: message`, all of them, in order. */
  errors: readonly string[]
}

export const rightManifest = `apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccess
metadata: {name: orders, namespace: shop}
spec:
  agents:
    - name: claude
      token: {secretRef: {name: tokens, key: claude}}
    - name: chatgpt
      clientCertificate: {commonName: chatgpt}
  target:
    postgres:
      host: orders-db
      port: 5432
      credentials: {secretRef: {name: role}}
      tls: {mode: VerifyFull}
  policy:
    default: Allow
    rules:
      - name: no-drops
        when: "'DROP' in command.operations"
        action: Deny
  recording:
    durability: Written
---
apiVersion: v1
kind: Secret
metadata: {name: tokens, namespace: shop}
stringData: {claude: secret}
---
apiVersion: v1
kind: Secret
metadata: {name: role, namespace: shop}
stringData: {username: app, password: secret}
`

const one = (name: string, what: string, instead: string, ...errors: string[]): WrongManifest => ({ name, change: [[what, instead]], errors })
const spec = (name: string, line: string, ...errors: string[]): WrongManifest => one(name, '  recording:\n    durability: Written\n', `${line}\n`, ...errors)
const NAME = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'
const unenforced = (field: string, instead: string) => `Forbidden: ${field} is not enforced by this version; ${instead}`

export const wrongManifests: readonly WrongManifest[] = [
  one('another version', 'dev/v1alpha1', 'dev/v1', '1: apiVersion: Unsupported value: "agentaccess.dev/v1": supported values: "agentaccess.dev/v1alpha1"'),
  one('no name', 'name: orders, namespace', 'namespace', '3: metadata.name: Required value'),
  one('a name in capitals', 'name: orders,', 'name: Orders,', `3: metadata.name: Invalid value: "Orders": metadata.name in body should match '${NAME}'`),
  one('a misspelt field', 'durability: Written', 'durabilty: Written', '23: unknown field "spec.recording.durabilty"'),
  one('a misspelt field above', '  recording:\n    durability: Written\n', '  recordings: {}\n', '22: unknown field "spec.recordings"'),
  one(
    'no agents',
    '  agents:\n    - name: claude\n      token: {secretRef: {name: tokens, key: claude}}\n    - name: chatgpt\n      clientCertificate: {commonName: chatgpt}\n',
    '',
    '5: spec.agents: Required value',
  ),
  one(
    'an empty list of agents',
    '  agents:\n    - name: claude\n      token: {secretRef: {name: tokens, key: claude}}\n    - name: chatgpt\n      clientCertificate: {commonName: chatgpt}\n',
    '  agents: []\n',
    '5: spec.agents: Invalid value: 0: spec.agents in body should have at least 1 items',
  ),
  one('an agent without a name', '- name: chatgpt\n      clientCertificate', '- clientCertificate', '8: spec.agents[1].name: Required value'),
  one(
    'an agent whose name is no name',
    '- name: claude',
    '- name: claude sonnet',
    `6: spec.agents[0].name: Invalid value: "claude sonnet": spec.agents[0].name in body should match '${NAME}'`,
  ),
  one('an agent with a long name', '- name: claude', `- name: ${'c'.repeat(64)}`, '6: spec.agents[0].name: Too long: may not be more than 63 bytes'),
  one(
    'an agent without an identity',
    '      clientCertificate: {commonName: chatgpt}\n',
    '',
    '8: spec.agents[1]: Invalid value: an agent has exactly one of serviceAccount, oidc, clientCertificate, sshPublicKeys and token',
  ),
  one(
    'an agent with two',
    '      clientCertificate: {commonName: chatgpt}\n',
    '      clientCertificate: {commonName: chatgpt}\n      token: {secretRef: {name: tokens, key: claude}}\n',
    '8: spec.agents[1]: Invalid value: an agent has exactly one of serviceAccount, oidc, clientCertificate, sshPublicKeys and token',
  ),
  one('two agents of one name', 'name: chatgpt', 'name: claude', '8: spec.agents[1]: Duplicate value: {"name":"claude"}'),
  one('a token without a key', '{name: tokens, key: claude}}', '{name: tokens}}', '7: spec.agents[0].token.secretRef.key: Required value'),
  one(
    'a token of a Secret that is not there',
    '{name: tokens, key: claude}}',
    '{name: nope, key: claude}}',
    '7: spec.agents[0].token.secretRef: Not found: Secret shop/nope does not exist',
  ),
  one(
    'a token of a key that is not there',
    'key: claude}}',
    'key: nope}}',
    '7: spec.agents[0].token.secretRef: Not found: Secret shop/tokens has no key "nope"',
  ),
  one(
    'an empty token',
    'stringData: {claude: secret}',
    'stringData: {claude: ""}',
    '7: spec.agents[0].token.secretRef: Invalid value: key "claude" of Secret shop/tokens is empty',
  ),
  one(
    'a common name that is a number',
    'commonName: chatgpt',
    'commonName: 7',
    '9: spec.agents[1].clientCertificate.commonName: Invalid value: "number": spec.agents[1].clientCertificate.commonName in body must be of type string: "number"',
  ),
  one(
    'no target',
    '    postgres:\n      host: orders-db\n      port: 5432\n      credentials: {secretRef: {name: role}}\n      tls: {mode: VerifyFull}\n',
    '    {}\n',
    '11: spec.target: Invalid value: a target has exactly one of postgres, ssh, http and kubernetes',
  ),
  one(
    'two targets',
    '    postgres:\n',
    '    http: {url: "https://x"}\n    postgres:\n',
    '11: spec.target: Invalid value: a target has exactly one of postgres, ssh, http and kubernetes',
  ),
  one('no host', '      host: orders-db\n', '', '12: spec.target.postgres.host: Required value'),
  one(
    'an empty host',
    'host: orders-db',
    'host: ""',
    '12: spec.target.postgres.host: Invalid value: "": spec.target.postgres.host in body should be at least 1 chars long',
  ),
  one(
    'a port of 0',
    'port: 5432',
    'port: 0',
    '13: spec.target.postgres.port: Invalid value: 0: spec.target.postgres.port in body should be greater than or equal to 1',
  ),
  one(
    'a port too high',
    'port: 5432',
    'port: 65536',
    '13: spec.target.postgres.port: Invalid value: 65536: spec.target.postgres.port in body should be less than or equal to 65535',
  ),
  one(
    'a port that is text',
    'port: 5432',
    'port: "5432"',
    '13: spec.target.postgres.port: Invalid value: "string": spec.target.postgres.port in body must be of type integer: "string"',
  ),
  one('no credentials', '      credentials: {secretRef: {name: role}}\n', '', '12: spec.target.postgres.credentials: Required value'),
  one(
    'credentials without a username',
    'username: app, ',
    '',
    '14: spec.target.postgres.credentials.secretRef: Not found: Secret shop/role has no key "username"',
  ),
  one(
    'a TLS mode of libpq',
    'mode: VerifyFull',
    'mode: verify-full',
    '15: spec.target.postgres.tls.mode: Unsupported value: "verify-full": supported values: "Disable", "Require", "VerifyCA", "VerifyFull"',
  ),
  one(
    'a CA that would not be used',
    '{mode: VerifyFull}',
    '{mode: Require, caSecretRef: {name: ca}}',
    '15: spec.target.postgres.tls: Invalid value: caSecretRef is used with mode VerifyCA or VerifyFull only',
  ),
  one(
    'a CA that is not there',
    '{mode: VerifyFull}',
    '{caSecretRef: {name: ca}}',
    '15: spec.target.postgres.tls.caSecretRef: Not found: Secret shop/ca does not exist',
  ),
  one(
    'a default that is no action',
    'default: Allow',
    'default: Maybe',
    '17: spec.policy.default: Unsupported value: "Maybe": supported values: "Allow", "Deny"',
  ),
  one('a rule without when', `        when: "'DROP' in command.operations"\n`, '', '19: spec.policy.rules[0].when: Required value'),
  one(
    'a rule with another action',
    'action: Deny',
    'action: Reject',
    '21: spec.policy.rules[0].action: Unsupported value: "Reject": supported values: "Allow", "Deny", "Alert", "RequireApproval"',
  ),
  one(
    'two rules of one name',
    '        action: Deny\n',
    '        action: Deny\n      - {name: no-drops, when: "true", action: Allow}\n',
    '19: spec.policy.rules: Invalid value: the names of rules are unique',
  ),
  one(
    'a rule that does not compile',
    "'DROP' in command.operations",
    "'DROP' in command.operation",
    `20: spec.policy.rules[0].when: rule no-drops: No such key: operation in: 'DROP' in command.operation`,
  ),
  one(
    'a rule of an unknown variable',
    "'DROP' in command.operations",
    'nobody == 1',
    '20: spec.policy.rules[0].when: rule no-drops: Unknown variable: nobody in: nobody == 1',
  ),
  one(
    'a rule that is no condition',
    "'DROP' in command.operations",
    'command.text',
    '20: spec.policy.rules[0].when: rule no-drops: it gives a string, and must give a bool in: command.text',
  ),
  one('a rule that is cut', "'DROP' in command.operations", "'DROP' in", "20: spec.policy.rules[0].when: rule no-drops: Unexpected token: EOF in: 'DROP' in"),
  one(
    'an approval without its action',
    'action: Deny',
    'action: Deny\n        approval: {timeout: 15m}',
    `19: spec.policy.rules[0]: Invalid value: approval is given exactly where the action is RequireApproval`,
  ),
  one(
    'an approval that lasts for ever',
    'action: Deny',
    'action: RequireApproval\n        approval: {timeout: forever}',
    `22: spec.policy.rules[0].approval.timeout: Invalid value: "forever": spec.policy.rules[0].approval.timeout in body should match '^[1-9][0-9]*(s|m|h)$'`,
  ),
  one(
    'a durability that is none',
    'durability: Written',
    'durability: Hoped',
    '23: spec.recording.durability: Unsupported value: "Hoped": supported values: "Written", "Synced"',
  ),
  one(
    'parameters that are text',
    'durability: Written',
    'parameters: "yes"',
    '23: spec.recording.parameters: Invalid value: "string": spec.recording.parameters in body must be of type boolean: "string"',
  ),
  one(
    'a size with another unit',
    'durability: Written',
    'maxCommandBytes: 64MB',
    `23: spec.recording.maxCommandBytes: Invalid value: "64MB": spec.recording.maxCommandBytes in body should match '^[1-9][0-9]*(Ki|Mi|Gi)?$'`,
  ),
  one('commands that are too large', 'durability: Written', 'maxCommandBytes: 1Gi', '23: spec.recording.maxCommandBytes: Invalid value: "1Gi": at most 256Mi'),
  one(
    'null for a list',
    '    rules:\n      - name: no-drops\n        when: "\'DROP\' in command.operations"\n        action: Deny\n',
    '    rules: null\n',
    '18: spec.policy.rules: Invalid value: "null": spec.policy.rules in body must be of type array: "null"',
  ),
  // What the API has and this version does not enforce.
  one(
    'approval',
    'action: Deny',
    'action: RequireApproval\n        approval: {timeout: 15m}',
    `21: spec.policy.rules[0].action: ${unenforced('RequireApproval', 'use Deny')}`,
  ),
  one(
    'a service account',
    'clientCertificate: {commonName: chatgpt}',
    'serviceAccount: {name: chatgpt}',
    `9: spec.agents[1].serviceAccount: ${unenforced('serviceAccount', 'use token or clientCertificate')}`,
  ),
  one(
    'an SSH key',
    'clientCertificate: {commonName: chatgpt}',
    'sshPublicKeys: [ssh-ed25519 AAAA]',
    `9: spec.agents[1].sshPublicKeys: ${unenforced('sshPublicKeys', 'use token or clientCertificate')}`,
  ),
  one(
    'isolation',
    'tls: {mode: VerifyFull}',
    'isolate: {podSelector: {matchLabels: {app: db}}}',
    `15: spec.target.postgres.isolate: ${unenforced('isolate', 'keep agents from the target with a NetworkPolicy of your own')}`,
  ),
  one(
    'a window',
    '    default: Allow\n',
    '    window: {days: [Mon], from: "08:00", to: "18:00", timeZone: UTC}\n',
    `17: spec.policy.window: ${unenforced('window', 'write a rule over now')}`,
  ),
  one(
    'limits',
    '    default: Allow\n',
    '    limits: {rowsPerSession: 5}\n',
    `17: spec.policy.limits: ${unenforced('limits', 'write a rule over session.rows or session.commands')}`,
  ),
  one('results Full', 'durability: Written', 'results: Full', `23: spec.recording.results: ${unenforced('results: Full', 'use Summary')}`),
  one(
    'an output cap',
    'durability: Written',
    'outputCap: 2Mi',
    `23: spec.recording.outputCap: ${unenforced('outputCap', 'leave it out: of a database no output is recorded')}`,
  ),
  one('going on unrecorded', 'durability: Written', 'onFailure: Continue', `23: spec.recording.onFailure: ${unenforced('onFailure: Continue', 'use Block')}`),
  one(
    'redaction',
    'durability: Written',
    "redact: ['ok', '(?=back)']",
    '23: spec.recording.redact[1]: not RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
  ),
  one(
    'retention',
    'durability: Written',
    'retention: 90d',
    `23: spec.recording.retention: ${unenforced('retention', 'a directory can not lock its objects: leave it out')}`,
  ),
  spec('a service', '  service: {type: LoadBalancer}', `22: spec.service: ${unenforced('service', 'there is no Service without a cluster: leave it out')}`),
  {
    name: 'an SSH target',
    change: [
      [
        '    postgres:\n      host: orders-db\n      port: 5432\n      credentials: {secretRef: {name: role}}\n      tls: {mode: VerifyFull}\n',
        '    ssh: {host: h, hostKeys: [k], credentials: {secretRef: {name: role}}}\n',
      ],
    ],
    errors: [`11: spec.target.ssh: ${unenforced('ssh', 'postgres and kubernetes are the targets')}`],
  },
]
