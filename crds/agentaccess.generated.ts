// Generated from crds/agentaccess.yaml by `make generate`. Do not edit.

/**
 * Says which agents may reach a target, what they may do there, and how it is recorded.
 */
export interface AgentAccess {
  /**
   * The version of this schema.
   */
  apiVersion: string;
  /**
   * AgentAccess.
   */
  kind: string;
  metadata: {
    name: string;
    namespace: string;
  };
  /**
   * What is wanted.
   */
  spec: {
    /**
     * Who may connect. Each agent has exactly one kind of identity.
     *
     * @minItems 1
     * @maxItems 64
     */
    agents: {
      /**
       * What the record calls the agent. With Postgres also the user it connects as.
       */
      name: string;
      /**
       * A Kubernetes ServiceAccount.
       */
      serviceAccount?: {
        /**
         * Its name.
         */
        name: string;
        /**
         * Its namespace; default: that of this resource.
         */
        namespace?: string;
        /**
         * Which proofs are taken. Pod, which needs nothing in the agent, must be asked for.
         *
         * @minItems 1
         * @maxItems 2
         */
        proofs: ("Token" | "Pod")[];
      };
      /**
       * A token of an OpenID Connect issuer.
       */
      oidc?: {
        /**
         * The issuer's URL.
         */
        issuer: string;
        /**
         * The audience that the token must have.
         */
        audience: string;
        /**
         * The subject; a * stands for any text.
         */
        subject: string;
      };
      /**
       * A TLS client certificate, signed by the CA that the proxy was given.
       */
      clientCertificate?: {
        /**
         * The common name of its subject.
         */
        commonName: string;
      };
      /**
       * SSH public keys, as in authorized_keys, without options.
       *
       * @minItems 1
       * @maxItems 16
       */
      sshPublicKeys?: string[];
      /**
       * A shared secret, where nothing better exists.
       */
      token?: {
        /**
         * The key of a Secret that holds it.
         */
        secretRef: {
          /**
           * The Secret's name.
           */
          name: string;
          /**
           * The key in it.
           */
          key: string;
        };
      };
    }[];
    /**
     * What the agents reach. Exactly one of its fields.
     */
    target: {
      /**
       * A PostgreSQL server.
       */
      postgres?: {
        /**
         * Its host name or address.
         */
        host: string;
        /**
         * Its port.
         */
        port: number;
        /**
         * The database; without it, the one that the client asks for.
         */
        database?: string;
        /**
         * What the proxy logs in with. The agent never sees it.
         */
        credentials: {
          /**
           * A Secret in the namespace of this resource.
           */
          secretRef: {
            /**
             * The Secret's name.
             */
            name: string;
          };
        };
        /**
         * How the connection to the target is protected.
         */
        tls: {
          /**
           * Disable: none. Require: encrypted, not verified. VerifyCA: signed by the CA. VerifyFull: and for this host.
           */
          mode: "Disable" | "Require" | "VerifyCA" | "VerifyFull";
          /**
           * A Secret with ca.crt: the CA, as PEM. Without it, the CAs that Node.js knows.
           */
          caSecretRef?: {
            /**
             * The Secret's name.
             */
            name: string;
          };
        };
        /**
         * Pods of the target that only the proxy may reach, by a NetworkPolicy.
         */
        isolate?: {
          /**
           * Which pods.
           */
          podSelector: {
            /**
             * Labels that they have.
             */
            matchLabels: {
              [k: string]: string;
            };
          };
        };
      };
      /**
       * A host, by SSH.
       */
      ssh?: {
        /**
         * Its host name or address.
         */
        host: string;
        /**
         * Its port.
         */
        port: number;
        /**
         * Its host keys, as in known_hosts, without the host.
         *
         * @minItems 1
         * @maxItems 16
         */
        hostKeys: string[];
        /**
         * What the proxy logs in with. The agent never sees it.
         */
        credentials: {
          /**
           * A Secret in the namespace of this resource.
           */
          secretRef: {
            /**
             * The Secret's name.
             */
            name: string;
          };
        };
      };
      /**
       * An HTTP service.
       */
      http?: {
        /**
         * Its URL.
         */
        url: string;
        /**
         * What the proxy logs in with. The agent never sees it.
         */
        credentials?: {
          /**
           * A Secret in the namespace of this resource.
           */
          secretRef: {
            /**
             * The Secret's name.
             */
            name: string;
          };
        };
        /**
         * How the connection to the target is protected.
         */
        tls: {
          /**
           * Disable: none. Require: encrypted, not verified. VerifyCA: signed by the CA. VerifyFull: and for this host.
           */
          mode: "Disable" | "Require" | "VerifyCA" | "VerifyFull";
          /**
           * A Secret with ca.crt: the CA, as PEM. Without it, the CAs that Node.js knows.
           */
          caSecretRef?: {
            /**
             * The Secret's name.
             */
            name: string;
          };
        };
      };
      /**
       * A Kubernetes API server; this cluster's where no server is named.
       */
      kubernetes?: {
        /**
         * Its URL.
         */
        server?: string;
        /**
         * How long a session lasts in which nothing is under way: seconds, minutes or hours.
         */
        sessionIdle: string;
        /**
         * The ServiceAccount of this namespace that the proxy acts as.
         */
        serviceAccount?: {
          /**
           * Its name.
           */
          name: string;
        };
        /**
         * What the proxy acts with. The agent never sees it.
         */
        credentials?: {
          /**
           * A Secret in the namespace of this resource: its key kubeconfig, of which the current context is used.
           */
          secretRef: {
            /**
             * The Secret's name.
             */
            name: string;
          };
        };
        /**
         * Act as the agent's own identity.
         */
        impersonate: boolean;
      };
    };
    /**
     * What the agents may do.
     */
    policy: {
      /**
       * What holds where no rule matches.
       */
      default: "Allow" | "Deny";
      /**
       * First match wins.
       *
       * @maxItems 128
       */
      rules?: {
        /**
         * What the record and the agent's error call the rule.
         */
        name: string;
        /**
         * A CEL expression over command, agent, task, target, session and now.
         */
        when: string;
        /**
         * Alert allows, and says so in the record.
         */
        action: "Allow" | "Deny" | "Alert" | "RequireApproval";
        /**
         * What the agent is told.
         */
        message?: string;
        /**
         * How long a person has to decide.
         */
        approval?: {
          /**
           * A duration, such as 15m.
           */
          timeout: string;
        };
      }[];
      /**
       * What the rules are meant to decide. The proxy does not look at them; kubectl agentaccess check does.
       *
       * @maxItems 256
       */
      tests?: {
        /**
         * A command, as an agent could send it.
         */
        sql: string;
        /**
         * Its bound values, as text.
         *
         * @maxItems 64
         */
        parameters?: string[];
        /**
         * Who sends it; the first agent where left out.
         */
        agent?: string;
        /**
         * On what task.
         */
        task?: string;
        /**
         * When.
         */
        now?: string;
        /**
         * What is decided.
         */
        expect: "Allow" | "Deny" | "Alert";
        /**
         * By which rule; built-in ones and default too.
         */
        rule?: string;
      }[];
      /**
       * When the agents may connect at all.
       */
      window?: {
        /**
         * Days of the week.
         *
         * @minItems 1
         * @maxItems 7
         */
        days: ("Mon" | "Tue" | "Wed" | "Thu" | "Fri" | "Sat" | "Sun")[];
        /**
         * From this time of day, HH:MM.
         */
        from: string;
        /**
         * Until this time of day, HH:MM.
         */
        to: string;
        /**
         * A name of the IANA time zone database.
         */
        timeZone: string;
      };
      /**
       * What one session may come to.
       */
      limits?: {
        /**
         * Rows returned.
         */
        rowsPerSession?: number;
        /**
         * Commands in a minute.
         */
        commandsPerMinute?: number;
      };
    };
    /**
     * How it is recorded.
     */
    recording: {
      /**
       * Summary: status, rows, bytes. Full: the data too.
       */
      results: "Summary" | "Full";
      /**
       * Whether bound values are recorded.
       */
      parameters: boolean;
      /**
       * What a command waits for before it is forwarded. Written: its record is in the spool file. Synced: on the disk.
       */
      durability: "Written" | "Synced";
      /**
       * What happens where nothing can be recorded.
       */
      onFailure: "Block" | "Continue";
      /**
       * RE2 patterns; what they match is replaced before anything is stored.
       *
       * @maxItems 32
       */
      redact?: string[];
      /**
       * How long the bucket keeps the evidence from being deleted.
       */
      retention?: string;
      /**
       * Most output recorded of a command: of what is answered, with results Full, and of what runs without a terminal. Terminals are never capped.
       */
      outputCap: string;
      /**
       * A longer command is refused.
       */
      maxCommandBytes: string;
      /**
       * What this access may hold in the spool, on each proxy.
       */
      spoolQuota: string;
    };
    /**
     * The Service that agents connect to.
     */
    service?: {
      /**
       * Its type.
       */
      type: "ClusterIP" | "NodePort" | "LoadBalancer";
      /**
       * Its annotations.
       */
      annotations?: {
        [k: string]: string;
      };
      /**
       * More names for the certificate, for agents outside the cluster.
       *
       * @maxItems 16
       */
      names?: string[];
    };
    /**
     * True ends every session at once and refuses new ones.
     */
    suspended: boolean;
  };
  /**
   * What is.
   */
  status?: {
    /**
     * The generation that this speaks of.
     */
    observedGeneration?: number;
    /**
     * Where agents connect.
     */
    endpoint?: string;
    /**
     * The target, for people.
     */
    target?: string;
    /**
     * The names of the agents, for people.
     */
    agents?: string;
    /**
     * Sessions that run now.
     */
    activeSessions?: number;
    /**
     * When the last session began.
     */
    lastSessionTime?: string;
    /**
     * Ready, TargetReachable, Recording, Isolated.
     *
     * @maxItems 16
     */
    conditions?: {
      /**
       * Of the condition.
       */
      type: string;
      /**
       * Whether it holds.
       */
      status: "True" | "False" | "Unknown";
      /**
       * Why, for programs.
       */
      reason: string;
      /**
       * Why, for people.
       */
      message: string;
      /**
       * When it changed.
       */
      lastTransitionTime: string;
      /**
       * The generation that it speaks of.
       */
      observedGeneration?: number;
    }[];
  };
}
