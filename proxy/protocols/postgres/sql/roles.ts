// Which roles a statement changes, such that they could log in otherwise than before: password, validity, log-in, name, membership.
import type { Found } from './facts.ts'
import { at, isBody, type Body } from './parser.ts'

/** DefElem names of CREATE and ALTER ROLE by which a log-in is changed, or taken away. */
const LOGIN_OPTIONS: ReadonlySet<string> = new Set(['password', 'validUntil', 'canlogin', 'connectionlimit'])
const MEMBER_OPTIONS: ReadonlySet<string> = new Set(['rolemembers', 'adminmembers', 'addroleto'])

/** A RoleSpec: the role's name, or the key word that stands for one. */
export function roleName({ roletype, rolename }: Body): string {
  if (typeof rolename === 'string') return rolename
  // CURRENT_ROLE is CURRENT_USER by another name.
  const word = String(roletype).replace('ROLESPEC_', '')
  return word === 'CURRENT_ROLE' ? 'CURRENT_USER' : word
}

export function noteRoleChange(node: string, body: Body, { facts, rolesChanged }: Found): void {
  const named = (name: unknown) => {
    if (typeof name === 'string') facts.roles.add(name)
    return String(name)
  }
  switch (node) {
    case 'CreateRoleStmt':
    case 'AlterRoleStmt': {
      const role = isBody(body.role) ? roleName(body.role) : named(body.role)
      const options = Array.isArray(body.options) ? body.options.map((option: unknown) => at(option, 'DefElem')).filter(isBody) : []
      for (const { defname, arg } of options) {
        if (LOGIN_OPTIONS.has(String(defname))) rolesChanged.add(role)
        if (!MEMBER_OPTIONS.has(String(defname))) continue
        rolesChanged.add(role)
        for (const member of roleSpecs(at(arg, 'List', 'items'))) rolesChanged.add(member)
      }
      break
    }
    case 'GrantRoleStmt': {
      const granted = Array.isArray(body.granted_roles) ? body.granted_roles.map((role: unknown) => named(at(role, 'AccessPriv', 'priv_name'))) : []
      for (const role of [...granted, ...roleSpecs(body.grantee_roles)]) rolesChanged.add(role)
      break
    }
    case 'DropRoleStmt':
      for (const role of roleSpecs(body.roles)) rolesChanged.add(role)
      break
    case 'RenameStmt':
      // Renaming a role clears an md5 password, and ends its log-ins either way.
      if (body.renameType === 'OBJECT_ROLE') {
        rolesChanged.add(named(body.subname))
        rolesChanged.add(named(body.newname))
      }
      break
    default:
      break
  }
}

const roleSpecs = (list: unknown): string[] =>
  Array.isArray(list)
    ? list
        .map((item: unknown) => at(item, 'RoleSpec'))
        .filter(isBody)
        .map(roleName)
    : []

/** Text that can't be read, or is put together while it runs, and speaks of roles counts as changing every one of them. */
export function speaksOfRoles(text: string): boolean {
  if (/\bpg_(?:authid|auth_members)\b/i.test(text)) return true
  return /\b(?:alter|create|drop|grant|revoke)\b/i.test(text) && /\b(?:role|user|group)\b/i.test(text)
}
