# The job of sidekiq_job.py: it is done when its number is in the set "done".
require 'sidekiq'

redis = { url: "#{ENV['REDIS_URL']}/0", reconnect_attempts: 3 }
Sidekiq.configure_client { |config| config.redis = redis }
Sidekiq.configure_server do |config|
  config.redis = redis
  config.options[:poll_interval_average] = 1
end

class Job
  include Sidekiq::Worker
  sidekiq_options retry: 5
  sidekiq_retry_in { 1 }

  # Waits at the gate, if there is one, and fails so many times before it succeeds.
  def perform(number, failures = 0, gate = nil)
    wait_at(gate) if gate
    tries = Sidekiq.redis { |r| r.hincrby('tries', number, 1) }
    raise 'not yet' if tries <= failures

    Sidekiq.redis { |r| r.sadd('done', number) }
  end

  def wait_at(gate)
    File.write("#{gate}.#{Thread.current.object_id}", '')
    until File.exist?(gate)
      exit!(1) unless File.directory?(File.dirname(gate)) # whoever could open it is gone
      sleep 0.05
    end
  end
end
